"""What the HTTP API speaks: paths and records, for the server, our client and other programs.

Pure. JSON; a stream is one JSON object a line. Served by every scheduler over mutual TLS on
settings.API_PORT and over the unix socket <run_dir>/api.sock (mode 0600).

    GET    /v1/status                                       ClusterView
    GET    /v1/nodes                                        NodeList
    GET    /v1/services?stack=                              ServiceList
    GET    /v1/allocations?stack=&service=&node=            AllocationList
    PUT    /v1/stacks/{stack}              StackUpload  ->  Accepted
    DELETE /v1/stacks/{stack}                           ->  Accepted
    GET    /v1/stacks/{stack}/progress?after=REVISION       stream of StackProgress, ends when done
    GET    /v1/logs?stack=&service=&allocation=&follow=&tail=   stream of LogEntry
    GET    /v1/events?follow=                               stream of model.Event

Every refusal is an ErrorBody with a 4xx or 5xx status. In a stream a blank line says only that the
stream lives, and a last line that is an ErrorBody says why it broke off. The agents' own API
(settings.AGENT_PORT) has

    GET    /v1/allocations/{id}/logs?follow=&tail=          stream of LogEntry
"""

from typing import Final

from shared.model import (
    AllocId,
    Health,
    NodeName,
    Record,
    Resources,
    Revision,
    ServiceName,
    ServiceSpec,
    StackName,
)
from shared.states import AllocState

STATUS: Final = "/v1/status"
NODES: Final = "/v1/nodes"
SERVICES: Final = "/v1/services"
ALLOCATIONS: Final = "/v1/allocations"
STACK: Final = "/v1/stacks/{stack}"
PROGRESS: Final = "/v1/stacks/{stack}/progress"
LOGS: Final = "/v1/logs"
EVENTS: Final = "/v1/events"
AGENT_LOGS: Final = "/v1/allocations/{id}/logs"

# The largest body that is read: a document in etcd is at most 1 MiB.
BODY_BYTES_MAX: Final = 2 * 1024 * 1024
# A quiet stream sends a blank line this often; a reader that hears nothing for three of them has
# lost its server: a host that vanished sends no reset.
STREAM_HEARTBEAT_S: Final = 5.0
STREAM_SILENCE_S_MAX: Final = 3 * STREAM_HEARTBEAT_S


class ErrorBody(Record, frozen=True, kw_only=True):
    """A refusal: `error` is the class in shared.errors, `message` its one line for a person."""

    error: str
    message: str


class StackUpload(Record, frozen=True, kw_only=True):
    """A stack to deploy. `source` is the Compose file as given."""

    services: tuple[ServiceSpec, ...]
    source: str = ""


class Accepted(Record, frozen=True, kw_only=True):
    """A change is durable. Progress counts from `revision`."""

    stack: StackName
    generation: int
    revision: Revision


class NodeView(Record, frozen=True, kw_only=True):
    """A node as a person sees it. `state` is ready, suspect, lost or cordoned."""

    name: NodeName
    state: str
    address: str
    capacity: Resources = Resources()
    reserved: Resources = Resources()
    allocations: int = 0
    leader: bool = False
    problems: tuple[str, ...] = ()


class NodeList(Record, frozen=True, kw_only=True):
    """All nodes, sorted by name."""

    nodes: tuple[NodeView, ...]


class ClusterView(Record, frozen=True, kw_only=True):
    """The cluster at a glance.

    Attributes:
        etcd_reachable: False: what follows is the last that was seen; no change is accepted now.
        leader: empty: nobody leads at the moment.
        revision: of the view.
    """

    etcd_reachable: bool
    leader: NodeName
    revision: Revision
    nodes: tuple[NodeView, ...]
    stacks: int
    replicas_wanted: int
    replicas_ready: int


class ServiceView(Record, frozen=True, kw_only=True):
    """One service: how many replicas are asked for and ready, and what is in the way."""

    stack: StackName
    service: ServiceName
    image: str
    replicas: int
    ready: int
    updated: int
    ports: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


class ServiceList(Record, frozen=True, kw_only=True):
    """Services, sorted by stack and name."""

    services: tuple[ServiceView, ...]


class AllocationView(Record, frozen=True, kw_only=True):
    """One allocation with what its node says of it."""

    id: AllocId
    stack: StackName
    service: ServiceName
    slot: int
    node: NodeName
    image: str
    state: AllocState
    health: Health
    draining: bool = False
    address: str = ""
    reason: str = ""
    restarts: int = 0
    since_s: float = 0.0


class AllocationList(Record, frozen=True, kw_only=True):
    """Allocations, sorted by stack, service, slot, id."""

    allocations: tuple[AllocationView, ...]


class StackProgress(Record, frozen=True, kw_only=True):
    """How far a change is.

    Attributes:
        done: every replica of the newest generation is ready and nothing old is left.
        blocked: what a person must mend before it can go on, one sentence each; empty: it goes on.
    """

    stack: StackName
    generation: int
    services: tuple[ServiceView, ...]
    done: bool
    blocked: tuple[str, ...] = ()


class LogEntry(Record, frozen=True, kw_only=True):
    """One line of a container's output.

    Attributes:
        at: RFC 3339.
        stream: stdout, stderr, or hafen for a remark of ours.
    """

    allocation: AllocId
    node: NodeName
    at: str
    stream: str
    text: str
