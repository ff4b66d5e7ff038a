"""What the leader decided: manifests, routes, and how far each service's update is.

Pure.
"""

import enum
from collections.abc import Mapping

from shared.model.base import AllocId, NodeName, Record, ServiceName, StackName
from shared.model.network import Affinity, Joined, Network
from shared.model.service import ServiceSpec
from shared.model.traffic import HttpRoute, Traffic
from shared.model.workload import PublishedPort, Workload


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
        generation: the stack's generation that brought it.
        workload: what it runs; it follows the service as long as its container is as good as one of
            the new version, see runs_alike.
        attempt: how many allocations of this slot failed in a row before this one.
        epoch: the store's revision when it was placed: of two, the smaller one is older. An
            exclusive container is told, and may hand it to what it writes to.
        reason: why it was placed, one sentence.
        address: its container's, of its node's subnet, known to all nodes before it starts; empty:
            the node chooses one, or its network mode has none.
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
    reason: str = ""
    address: str = ""


class Manifest(Record, frozen=True, kw_only=True):
    """All that one node should run. Key: desired/<node>. Writer: the leader.

    Attributes:
        images: to have ready for what may come: another node is lost, an update begins.
        leaving_volumes: whose data is to be removed; nothing that is assigned uses them.
        last_address: the one that was given out last: the next comes after it, so that one which
            was freed rests as long as possible.
        resting: addresses of what is no longer assigned, each with the first generation without
            it: free once the node has reported that generation, and no container with the address.
    """

    node: NodeName
    generation: int
    assignments: tuple[Assignment, ...] = ()
    images: tuple[str, ...] = ()
    leaving_volumes: tuple[str, ...] = ()
    last_address: str = ""
    resting: Mapping[str, int] = {}


class EndpointState(enum.StrEnum):
    """What is sent to an endpoint."""

    READY = "ready"
    DRAINING = "draining"  # nothing new
    PRESENT = "present"  # nothing; it is on its networks, and others let it in


class Endpoint(Record, frozen=True, kw_only=True):
    """One replica.

    One that is not listed is gone, its connections with it. Three attributes say how a replica of
    the generation before differs from its service, while that is being updated.

    Attributes:
        targets: where it listens for a published port, if not at the port's own target.
        route_targets: where it listens for a route's port, if not at that one.
        networks: those it is on; None: the service's.
        slot: which replica it is; 0: a standby.
        addresses: those it has beside its own, fixed ones.
    """

    allocation: AllocId
    node: NodeName
    address: str
    state: EndpointState = EndpointState.READY
    targets: Mapping[int, int] = {}
    route_targets: Mapping[int, int] = {}
    networks: tuple[str, ...] | None = None
    slot: int = 0
    addresses: tuple[str, ...] = ()


class ServiceRoutes(Record, frozen=True, kw_only=True):
    """Where one service's published ports, names and virtual address lead.

    No ready endpoint means: hold requests until there is one.

    Attributes:
        replicas: sizes the gateway's table of slots.
        networks: what it is on, and its names there.
        vip: its virtual address; empty: its name leads to its replicas themselves.
        affinity: of clients.
        routes: HTTP requests that go to it, by host and path.
        traffic: how gateways treat its requests.
    """

    service: ServiceName
    ports: tuple[PublishedPort, ...]
    endpoints: tuple[Endpoint, ...] = ()
    replicas: int = 1
    networks: tuple[Joined, ...] = ()
    vip: str = ""
    affinity: Affinity = Affinity.NONE
    routes: tuple[HttpRoute, ...] = ()
    traffic: Traffic = Traffic()

    @property
    def served(self) -> tuple[Endpoint, ...]:
        """Return the endpoints that take requests, or still have some in hand."""
        return tuple(one for one in self.endpoints if one.state is not EndpointState.PRESENT)


class Routes(Record, frozen=True, kw_only=True):
    """Where the traffic of one stack goes, the same for every node.

    Key: routes/<stack>. Writer: the leader.

    Attributes:
        networks: those that the stack makes, and those of others that it uses.
    """

    stack: StackName
    services: tuple[ServiceRoutes, ...] = ()
    networks: tuple[Network, ...] = ()


class RolloutPhase(enum.StrEnum):
    """Where an update is."""

    ROLLING = "rolling"  # slots go from the stable version to the target, or are filled at first
    CANARY = "canary"  # the canaries are well; a person, or time, says how it goes on
    PAUSED = "paused"  # no further slot is touched until a person says how it goes on
    ROLLING_BACK = "rolling-back"  # slots go from the target to the stable version
    DONE = "done"  # every slot has the target, which is now stable
    ROLLED_BACK = "rolled-back"  # every slot has the stable version; `reason` says what was wrong
    FAILED = "failed"  # there is nothing to go back to, or going back fails, too: tried on and on


class Rollout(Record, frozen=True, kw_only=True):
    """How far a service's update is. Key: rollouts/<stack>/<service>. Writer: the leader.

    Attributes:
        generation: the stack's generation that brought the target.
        target: what that generation asks for.
        stable: what came up whole the last time; None: nothing ever did.
        is_back: the stable version is what slots should have: the target has failed.
        reason: why it does not go on, or went back; one sentence, empty while all is well.
        failed: allocations of the version in hand that failed, oldest first.
        pardoned: those that failed before a person let it go on all the same.
        is_promoted: a person, or time, has let the canaries pass.
        ruled: the number of the newest ruling that was heard.
        began_at_s: wall clock of the leader, for display only.
        run: of a job: which of its runs is the newest; 0: it never ran.
        due_at_s: of a scheduled job, for which moment (wall clock) its newest run was begun.
    """

    stack: StackName
    service: ServiceName
    generation: int
    phase: RolloutPhase
    target: ServiceSpec
    stable: ServiceSpec | None = None
    is_back: bool = False
    reason: str = ""
    failed: tuple[AllocId, ...] = ()
    pardoned: tuple[AllocId, ...] = ()
    is_promoted: bool = False
    ruled: int = 0
    began_at_s: float = 0.0
    run: int = 0
    due_at_s: float = 0.0

    @property
    def spec(self) -> ServiceSpec:
        """Return the version that slots should have in the end, as far as is known now."""
        return self.stable if self.is_back and self.stable is not None else self.target

    @property
    def is_settled(self) -> bool:
        """Say whether nothing is under way."""
        return self.phase in {RolloutPhase.DONE, RolloutPhase.ROLLED_BACK}
