"""What a node is and sees, and who says what of whom.

Pure.
"""

import enum
from collections.abc import Mapping

from shared.model.base import (
    AllocId,
    NodeName,
    Record,
    Resources,
    Revision,
    StackName,
)
from shared.states import AllocState


class Availability(enum.StrEnum):
    """What an operator allows a node to do."""

    ACTIVE = "active"
    CORDONED = "cordoned"  # it keeps what it has, and gets nothing new
    DRAINING = "draining"  # nor does it keep what can be elsewhere


class NodeSpec(Record, frozen=True, kw_only=True):
    """A member of the cluster.

    Key: nodes/<node>/spec. Created by the node when it joins, then written by the API, which also
    removes it. The node writes its address, while it has no session.

    Attributes:
        address: where other nodes reach this one, an IPv4 address without a prefix.
        labels: at first those of the host's settings.
        subnet: the network of this node's containers, such as 10.90.3.0/24; no two nodes share one.
    """

    name: NodeName
    address: str
    subnet: str
    labels: Mapping[str, str] = {}
    availability: Availability = Availability.ACTIVE


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
        busy: drained endpoints that still have requests in flight through this node's gateway, or
            connections that its kernel sent there.
        problems: what a person must mend on this node, one sentence each.
        images: those of the manifest's `images` that are here.
        missing_images: those of them that cannot be had, and why, one sentence each.
        volumes: the named volumes whose data is here.
        segments: the networks of this node's interfaces, such as 10.0.0.0/24: floating addresses
            are from them.
        floating: what stands between this node and a floating address, by address.
    """

    node: NodeName
    capacity: Resources
    manifest_generation: int = 0
    allocations: tuple[AllocationStatus, ...] = ()
    acked: Mapping[StackName, Revision] = {}
    busy: tuple[AllocId, ...] = ()
    problems: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    missing_images: Mapping[str, str] = {}
    volumes: tuple[str, ...] = ()
    segments: tuple[str, ...] = ()
    floating: Mapping[str, str] = {}


class GatewayWord(Record, frozen=True, kw_only=True):
    """Whether a node's gateway serves what all gateways should.

    Key: gateways/<node>. Writer: that node's agent, when it has been otherwise for some seconds. It
    is not in the report, as every agent reads it, and reports are long.

    Attributes:
        trouble: why it does not, for people; empty: it serves.
        since_s: wall clock of the node when it was so long enough, for display only.
    """

    node: NodeName
    trouble: str = ""
    since_s: float = 0.0


class Session(Record, frozen=True, kw_only=True):
    """A living agent.

    Key: nodes/<node>/alive, under the agent's lease. Its absence is the truth about liveness: the
    lease is never revoked, so that an absent one was not renewed for its whole time.

    Attributes:
        boot_id: of this life of the agent.
        profile: the agent's timings; all nodes should have the same.
        common: other settings of its host that must be the same on all, by their names there.
    """

    node: NodeName
    boot_id: str
    version: str
    profile: str = "lan"
    common: Mapping[str, str] = {}


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


class Epoch(Record, frozen=True, kw_only=True):
    """The newest epoch that has had the claim of an exclusive slot: none before it ever may again.

    Key: claims/<stack>.<service>.<slot>/epoch, for good. Writer: the agent that takes the claim, in
    the same transaction. A claim is gone with its holder's session; this is not.
    """

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
