"""What the HTTP API speaks: paths and records, for the server, our client and other programs.

Pure. JSON; a stream is one JSON object a line. Served by every scheduler over mutual TLS on
settings.API_PORT and over the unix socket <run_dir>/api.sock (mode 0600).

    GET    /v1/status                                       ClusterView
    GET    /v1/doctor                                       Diagnosis
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

import enum
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
DOCTOR: Final = "/v1/doctor"
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
    """A node as a person sees it.

    `state` is a verdict of scheduler.nodes; `reason` says why in one sentence, empty where all is
    well.
    """

    name: NodeName
    state: str
    address: str
    capacity: Resources = Resources()
    reserved: Resources = Resources()
    allocations: int = 0
    leader: bool = False
    reason: str = ""
    problems: tuple[str, ...] = ()


class NodeList(Record, frozen=True, kw_only=True):
    """All nodes, sorted by name."""

    nodes: tuple[NodeView, ...]


class EtcdMemberView(Record, frozen=True, kw_only=True):
    """An etcd member.

    Attributes:
        problem: why it does not answer, or what it complains of.
        answers: itself, if only to complain.
    """

    endpoint: str
    problem: str = ""
    answers: bool = True
    version: str = ""
    leader: bool = False


class ServiceView(Record, frozen=True, kw_only=True):
    """One service: how many replicas are asked for and ready, and what is in the way.

    Attributes:
        standby: how many standbys are asked for.
        prepared: how many of them are made and only need to be started.
        exclusive: at most one copy of it runs.
        holder: of an exclusive service: the node that may run it; empty: nobody may now.
        epoch: of the placement that holds, or held last; 0: none has yet.
    """

    stack: StackName
    service: ServiceName
    image: str
    replicas: int
    ready: int
    updated: int
    ports: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    standby: int = 0
    prepared: int = 0
    exclusive: bool = False
    holder: NodeName = NodeName("")
    epoch: int = 0


class ServiceList(Record, frozen=True, kw_only=True):
    """Services, sorted by stack and name."""

    services: tuple[ServiceView, ...]


class ClusterView(Record, frozen=True, kw_only=True):
    """The cluster at a glance.

    Attributes:
        etcd_reachable: False: what follows is the last that was seen; no change is accepted now.
        leader: empty: nobody leads at the moment.
        revision: of the view.
        members: of etcd, as they answered some seconds ago at most.
        age_s: since etcd last answered this replica: so old may what follows be.
        leaderless_s: since when nobody leads, as this replica sees it.
        services: with what is in their way, except why slots have no node: that takes long to say.
        outages: what does not work now, one sentence each.
    """

    etcd_reachable: bool
    leader: NodeName
    revision: Revision
    nodes: tuple[NodeView, ...]
    stacks: int
    replicas_wanted: int
    replicas_ready: int
    members: tuple[EtcdMemberView, ...] = ()
    age_s: float = 0.0
    leaderless_s: float = 0.0
    services: tuple[ServiceView, ...] = ()
    outages: tuple[str, ...] = ()


class Level(enum.StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"  # it works, and will not when more breaks
    FAIL = "fail"  # a promise is not kept now


class Finding(Record, frozen=True, kw_only=True):
    """One line of `hafen doctor`: where, what is so, what to do."""

    level: Level
    where: str
    what: str
    advice: str


class Diagnosis(Record, frozen=True, kw_only=True):
    """All findings; one of level ok when there is nothing to say."""

    findings: tuple[Finding, ...]


class AllocationView(Record, frozen=True, kw_only=True):
    """One allocation with what its node says of it.

    Attributes:
        standby: it is kept made but not started; once it has an address it is prepared.
        epoch: of an exclusive one: its placement's; 0 for all others.
    """

    id: AllocId
    stack: StackName
    service: ServiceName
    slot: int
    node: NodeName
    image: str
    state: AllocState
    health: Health
    draining: bool = False
    standby: bool = False
    epoch: int = 0
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
