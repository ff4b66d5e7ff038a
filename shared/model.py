"""The records that every part of hafen agrees on.

What a person asked for, what the leader decided, what a node sees.

Pure. Every record is frozen; sequences are tuples and mappings are never mutated. Records that live
in etcd ignore unknown fields, so that an older binary can read what a newer one wrote; rule: nobody
rewrites another component's record, so nothing is lost by that.
"""

import enum
from collections.abc import Mapping
from typing import Final, NewType

import msgspec

from shared.states import AllocState

NodeName = NewType("NodeName", str)
StackName = NewType("StackName", str)
ServiceName = NewType("ServiceName", str)
AllocId = NewType("AllocId", str)
Revision = NewType("Revision", int)

# A document larger than this is refused before it is written: etcd's own limit is 1.5 MiB per
# request.
DOCUMENT_BYTES_MAX: Final = 1024 * 1024


class Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of everything that is stored or sent; compares by value."""


class Resources(Record, frozen=True, kw_only=True):
    """Amounts of what a node has and a container takes. 0 as a limit means: no limit."""

    cpu_millis: int = 0
    memory_bytes: int = 0
    pids: int = 0


# ---------------------------------------------------------------- what a person asked for


class Protocol(enum.StrEnum):
    """What a published port speaks; decides how the gateway retries and holds."""

    HTTP = "http"
    TCP = "tcp"


class PublishedPort(Record, frozen=True, kw_only=True):
    """A port that every node's gateway listens on and passes to the service's replicas."""

    published: int
    target: int
    protocol: Protocol = Protocol.TCP


class HealthCheck(Record, frozen=True, kw_only=True):
    """A command run inside the container; exit code 0 means healthy.

    Attributes:
        test: argv. A shell form arrives here as ("/bin/sh", "-c", text).
        start_period_s: failures are not counted for this long after the start.
        start_interval_s: time between checks until the first success.
        retries: consecutive failures that make a healthy container unhealthy.
    """

    test: tuple[str, ...]
    interval_s: float = 30.0
    timeout_s: float = 30.0
    retries: int = 3
    start_period_s: float = 0.0
    start_interval_s: float = 5.0


class Workload(Record, frozen=True, kw_only=True):
    """Everything a node needs to run one container; a change of it means a new allocation.

    Attributes:
        command: replaces the image's CMD; None keeps it.
        entrypoint: replaces the image's ENTRYPOINT and drops its CMD; None keeps both.
        healthcheck: None: ready as soon as every target port accepts a connection.
        limits: enforced by the kernel.
        reservations: counted by placement.
        exclusive: at most one copy runs, ever: its node must hold the slot's claim.
    """

    image: str
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    environment: Mapping[str, str] = {}
    labels: Mapping[str, str] = {}
    healthcheck: HealthCheck | None = None
    stop_grace_period_s: float = 10.0
    limits: Resources = Resources()
    reservations: Resources = Resources()
    ports: tuple[PublishedPort, ...] = ()
    exclusive: bool = False


class Constraint(Record, frozen=True, kw_only=True):
    """A label, or `node.hostname`/`node.id`, that must (or must not) have a value."""

    key: str
    value: str
    equal: bool = True


class Placement(Record, frozen=True, kw_only=True):
    """Where replicas may go.

    `spread` names labels over whose values they are spread, most important first.
    """

    constraints: tuple[Constraint, ...] = ()
    spread: tuple[str, ...] = ()
    max_replicas_per_node: int = 0  # 0: no limit


class ServiceSpec(Record, frozen=True, kw_only=True):
    """One service of a stack, normalised.

    `standby` counts containers that are kept made but not started, on nodes without a replica.
    """

    name: ServiceName
    workload: Workload
    replicas: int = 1
    placement: Placement = Placement()
    standby: int = 0


class Stack(Record, frozen=True, kw_only=True):
    """One deployed Compose file. Key: stacks/<stack>. Writer: the API.

    Attributes:
        generation: counts deploys of this stack, from 1.
        source: the Compose file as given, for people.
        deployed_at_s: wall clock of the API replica, for display only.
    """

    name: StackName
    generation: int
    services: tuple[ServiceSpec, ...]
    source: str = ""
    deployed_at_s: float = 0.0


class Availability(enum.StrEnum):
    """What an operator allows a node to do."""

    ACTIVE = "active"
    CORDONED = "cordoned"


class NodeSpec(Record, frozen=True, kw_only=True):
    """A member of the cluster.

    Key: nodes/<node>/spec. Created by the node when it joins, then written by the API.

    Attributes:
        address: where other nodes reach this one, an IPv4 address without a prefix.
        subnet: the network of this node's containers, such as 10.90.3.0/24; no two nodes share one.
    """

    name: NodeName
    address: str
    subnet: str
    labels: Mapping[str, str] = {}
    availability: Availability = Availability.ACTIVE


# ---------------------------------------------------------------- what the leader decided


class Want(enum.StrEnum):
    """What should happen to an allocation. One that is in no manifest is stopped and removed."""

    RUN = "run"
    STANDBY = "standby"  # make the container, do not start it
    DRAIN = "drain"  # keep running, but gateways send it nothing new; it is removed next


class Assignment(Record, frozen=True, kw_only=True):
    """One allocation: an attempt to fill one slot, bound to one node for life.

    Attributes:
        id: unique for ever, "<stack>.<service>.<slot>.<suffix>"; the slot is that of the placement.
        slot: which replica, from 1; 0 for a standby, which takes a slot when it is activated.
        generation: the stack's generation whose spec this runs.
        attempt: how many allocations of this slot failed in a row before this one.
        epoch: the store's revision when it was placed: of two, the smaller one is older. An
            exclusive container is told, and may hand it to what it writes to.
    """

    id: AllocId
    stack: StackName
    service: ServiceName
    slot: int
    generation: int
    workload: Workload
    want: Want = Want.RUN
    attempt: int = 0
    epoch: int = 0


class Manifest(Record, frozen=True, kw_only=True):
    """All that one node should run. Key: desired/<node>. Writer: the leader.

    `images` are those to have ready for what may come when another node is lost.
    """

    node: NodeName
    generation: int
    assignments: tuple[Assignment, ...] = ()
    images: tuple[str, ...] = ()


class EndpointState(enum.StrEnum):
    """What gateways do with an endpoint."""

    READY = "ready"
    DRAINING = "draining"


class Endpoint(Record, frozen=True, kw_only=True):
    """One replica that gateways may send to.

    One that is not listed is gone, its connections with it.

    `targets` maps a published port to where this replica listens, where that is not the port's own
    target: a replica of the generation before, while its service is being updated.
    """

    allocation: AllocId
    node: NodeName
    address: str
    state: EndpointState = EndpointState.READY
    targets: Mapping[int, int] = {}


class ServiceRoutes(Record, frozen=True, kw_only=True):
    """Where one service's published ports lead.

    No ready endpoint means: hold requests until there is one.
    """

    service: ServiceName
    ports: tuple[PublishedPort, ...]
    endpoints: tuple[Endpoint, ...] = ()
    replicas: int = 1  # sizes the gateway's table of slots


class Routes(Record, frozen=True, kw_only=True):
    """What every gateway should serve for one stack. Key: routes/<stack>. Writer: the leader."""

    stack: StackName
    services: tuple[ServiceRoutes, ...] = ()


# ---------------------------------------------------------------- what a node sees


class Health(enum.StrEnum):
    """Whether a running container can take work."""

    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class AllocationStatus(Record, frozen=True, kw_only=True):
    """One allocation as its node sees it.

    Attributes:
        address: the container's IPv4 address; empty until it has one.
        reason: why it is in this state, one sentence for people; empty when there is nothing to
            say.
        exit_code: of the last exit; None if it never exited.
        since_s: wall clock when this state or health began, for display only.
    """

    id: AllocId
    state: AllocState
    health: Health = Health.STARTING
    address: str = ""
    reason: str = ""
    exit_code: int | None = None
    restarts: int = 0
    since_s: float = 0.0


class Report(Record, frozen=True, kw_only=True):
    """All that one node runs. Key: observed/<node>. Writer: that node's agent, on change only.

    Attributes:
        manifest_generation: the newest manifest that was decided on.
        acked: per stack, the mod_revision of the routes that this node's gateway has applied.
        busy: drained endpoints that still have requests in flight through this node's gateway.
        problems: what a person must mend on this node, one sentence each.
        images: those of the manifest's `images` that are here.
    """

    node: NodeName
    capacity: Resources
    manifest_generation: int = 0
    allocations: tuple[AllocationStatus, ...] = ()
    acked: Mapping[StackName, Revision] = {}
    busy: tuple[AllocId, ...] = ()
    problems: tuple[str, ...] = ()
    images: tuple[str, ...] = ()


class Session(Record, frozen=True, kw_only=True):
    """A living agent.

    Key: nodes/<node>/alive, under the agent's lease. Its absence is the truth about liveness: the
    lease is never revoked, so that an absent one was not renewed for its whole time.

    Attributes:
        boot_id: of this life of the agent.
        profile: the agent's timings; all nodes should have the same.
    """

    node: NodeName
    boot_id: str
    version: str
    profile: str = "lan"


class Silence(enum.StrEnum):
    """What of a node no longer answers its peer."""

    AGENT = "agent"  # the kernel answers: its containers run
    HOST = "host"  # neither agent nor kernel


class Suspicion(Record, frozen=True, kw_only=True):
    """One peer cannot reach a node.

    Key: suspects/<node>/<peer>. Writer: the peer's agent, under its session's lease.

    Attributes:
        since_s: wall clock of the peer, for display only.
    """

    node: NodeName
    peer: NodeName
    silence: Silence
    since_s: float = 0.0


class Claim(Record, frozen=True, kw_only=True):
    """The right to run an exclusive slot.

    Key: claims/<stack>.<service>.<slot>. Writer: the agent that takes it, under its session's lease
    while it holds it; without a lease and with `node` empty once it has let go.
    """

    node: NodeName
    allocation: AllocId
    epoch: int


class Leader(Record, frozen=True, kw_only=True):
    """Who leads.

    Key: leader, under the scheduler's lease. The key's create_revision is the fence.
    """

    node: NodeName
    since_s: float = 0.0


class Event(Record, frozen=True, kw_only=True):
    """One sentence of the cluster's story. Key: events/<id>, under a lease that ends by itself.

    Attributes:
        kind: a constant word such as node_suspect, node_lost, placed.
        at_s: wall clock of the writer, for display only.
    """

    kind: str
    subject: str
    reason: str
    at_s: float
    node: NodeName = NodeName("")
