"""What the leader reasons about: services as they were asked for, and their allocations.

Pure.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from scheduler.nodes import Judged, Verdict
from scheduler.world import World
from shared.labels import meets
from shared.model import (
    AllocationStatus,
    AllocId,
    Assignment,
    Availability,
    Health,
    NodeName,
    NodeSpec,
    RestartCondition,
    ServiceName,
    ServiceSpec,
    StackName,
    Want,
    Workload,
    runs_alike,
)
from shared.states import AllocState


class Alloc(msgspec.Struct, frozen=True):
    """An assignment, where it is, and what is known of it.

    Attributes:
        status: None: its node has not reported it.
        is_doubted: a peer misses its node's host.
        is_claimed_by_other: it is exclusive, and another allocation holds its slot's claim: what
            its node last said of it is out of date.
        home: its node's spec; None: of no interest.
        ready_since: when we first saw its present start ready, by our monotonic clock; None: never.
    """

    assignment: Assignment
    node: NodeName
    verdict: Verdict
    status: AllocationStatus | None
    is_doubted: bool = False
    is_claimed_by_other: bool = False
    home: NodeSpec | None = None
    ready_since: float | None = None

    @property
    def id(self) -> AllocId:
        """Return the allocation's id."""
        return self.assignment.id

    @property
    def epoch(self) -> int:
        """Return when it was placed, as a revision."""
        return self.assignment.epoch

    @property
    def is_lost(self) -> bool:
        """Say whether its node is lost: it leaves its manifest."""
        return self.verdict is Verdict.LOST

    @property
    def is_given_up(self) -> bool:
        """Say whether its slot counts as empty; it may run all the same."""
        return self.verdict.is_given_up

    @property
    def serves(self) -> bool:
        """Say whether it is ready and is to go on."""
        return self.is_ready and self.assignment.want is Want.RUN

    @property
    def must_leave(self) -> bool:
        """Say whether its node is being drained."""
        return self.home is not None and self.home.availability is Availability.DRAINING

    @property
    def has_failed(self) -> bool:
        """Say whether its node gave it up."""
        return self.status is not None and self.status.state is AllocState.FAILED

    @property
    def has_had_its_starts(self) -> bool:
        """Say whether it failed by ends of its own, after as many starts as its policy allows.

        Such a copy gets no other one, on whichever node.
        """
        policy = self.assignment.workload.restart
        is_counted = policy.max_attempts is not None or policy.condition is RestartCondition.NONE
        has_ended = self.status is not None and self.status.exit_code is not None
        return self.has_failed and is_counted and has_ended

    @property
    def is_complete(self) -> bool:
        """Say whether it has run to its end, and that was all it should do."""
        return self.status is not None and self.status.state is AllocState.COMPLETE

    @property
    def is_running(self) -> bool:
        """Say whether its container was started and is not known to have ended."""
        is_up = self.status is not None and self.status.state is AllocState.RUNNING
        return is_up and not self.is_given_up

    @property
    def restarts(self) -> int:
        """Return how often its container has ended and was started again."""
        return self.status.restarts if self.status is not None else 0

    def has(self, spec: ServiceSpec) -> bool:
        """Say whether it is what a version asks for, and where that may be."""
        is_allowed = self.home is None or meets(self.home, spec.placement.constraints)
        return is_allowed and self.runs(spec.workload)

    def runs(self, workload: Workload) -> bool:
        """Say whether its container is as good as one of this workload."""
        return runs_alike(self.assignment.workload, workload)

    @property
    def is_prepared(self) -> bool:
        """Say whether its container is made, and only has to be started."""
        status = self.status
        return status is not None and status.state is AllocState.PREPARING and bool(status.address)

    @property
    def preference(self) -> tuple[bool, bool, float, int, str]:
        """Return what is compared, smallest first, where one of several is to stay.

        Of those that are ready, the one that has been so for longest. By our own clock, since hosts
        differ in theirs: a leader that saw both ready from its first look on takes the older one.
        """
        since = math.inf if self.ready_since is None else self.ready_since
        return not self.is_ready, self.is_claimed_by_other, since, self.epoch, self.id

    @property
    def is_ready(self) -> bool:
        """Say whether it can take requests, as far as anyone knows."""
        return (
            not self.is_given_up
            and not self.is_claimed_by_other
            and self.status is not None
            and self.status.state is AllocState.RUNNING
            and self.status.health is Health.HEALTHY
        )


class SlotPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What one slot should have now.

    Attributes:
        spec: the version; None: what is there stays, and nothing new is placed.
        node: of a global service: the only node.
        keeps_old: what has another version goes on beside it until a person decides: a canary.
        waits_for: why nothing new is placed, a sentence; empty where something may be.
    """

    spec: ServiceSpec | None
    node: NodeName | None = None
    keeps_old: bool = False
    waits_for: str = ""

    def fits(self, alloc: Alloc) -> bool:
        """Say whether an allocation is what this slot should have, and where it may stay."""
        if self.spec is None or self.node not in {None, alloc.node}:
            return False
        return not alloc.must_leave and alloc.has(self.spec)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One service as it should be now.

    Attributes:
        spec: the version in hand; None: it should not run at all.
        slots: what each slot should have.
        standby_spec: the version that standbys are made of.
        claimed: per exclusive slot, the newest epoch that has had its claim.
        leaving: slots that a node still stops something of.
        trial: the version that has to prove itself; None: none, all that is ready serves.
        proven: allocations that have been ready for as long as their version demands.
        is_crowded: no node has the ports of a node that it takes free: the old copy goes first.
        image_waits: of a service that is stopped before it is started: why its new image is on no
            node yet; empty: it is.
        stuck: slots whose copy would go first, but whose next one no node takes, or whose service
            has as many away as it may.
    """

    stack: StackName
    service: ServiceName
    spec: ServiceSpec | None = None
    slots: Mapping[int, SlotPlan] = {}
    standby_spec: ServiceSpec | None = None
    claimed: Mapping[int, int] = {}
    leaving: frozenset[int] = frozenset()
    trial: ServiceSpec | None = None
    proven: frozenset[AllocId] = frozenset()
    is_crowded: bool = False
    image_waits: str = ""
    stuck: frozenset[int] = frozenset()

    @property
    def replicas(self) -> int:
        """Return how many slots there should be."""
        return len(self.slots)

    @property
    def standby(self) -> int:
        """Return how many containers should be made beforehand."""
        return self.standby_spec.standby if self.standby_spec is not None and self.slots else 0

    @property
    def is_second_colour(self) -> bool:
        """Say whether every slot has its canary: the whole new version stands beside the old."""
        return all(plan.keeps_old for plan in self.slots.values())

    @property
    def is_exclusive(self) -> bool:
        """Say whether at most one copy of a slot may run."""
        return self.spec is not None and self.spec.workload.exclusive

    def is_on_trial(self, alloc: Alloc) -> bool:
        """Say whether an allocation has a version that nobody has seen at work yet."""
        return self.trial is not None and alloc.id not in self.proven and alloc.has(self.trial)

    def is_fresh(self, alloc: Alloc) -> bool:
        """Say whether an allocation is what its slot should have now."""
        plan = self.slots.get(alloc.assignment.slot)
        return plan is not None and plan.fits(alloc)


def allocs_of(
    world: World, judged: Judged, ready_since: Mapping[AllocId, float] | None = None
) -> tuple[Alloc, ...]:
    """Return every allocation that a manifest names, in order of id.

    Args:
        world: what is known.
        judged: what nodes are held for.
        ready_since: what the leader remembers; nobody else has to choose among several.
    """
    found = [
        alloc
        for name, node in world.nodes.items()
        for alloc in allocs_on(world, judged, name, node.assignments, ready_since or {})
    ]
    return tuple(sorted(found, key=lambda alloc: alloc.id))


def allocs_on(
    world: World,
    judged: Judged,
    node: NodeName,
    assignments: Iterable[Assignment],
    ready_since: Mapping[AllocId, float],
) -> Sequence[Alloc]:
    """Return the allocations that `assignments` make of what `node` reports."""
    report = world.nodes[node].report
    seen = {} if report is None else {each.id: each for each in report.allocations}
    return [
        Alloc(
            each,
            node,
            judged.verdicts[node],
            seen.get(each.id),
            node in judged.doubted,
            _is_claimed_by_other(world, each),
            world.nodes[node].spec,
            ready_since.get(each.id),
        )
        for each in assignments
    ]


def _is_claimed_by_other(world: World, assignment: Assignment) -> bool:
    if not assignment.workload.exclusive:
        return False
    claim = world.claims.get((assignment.stack, assignment.service, assignment.slot))
    return claim is not None and bool(claim.node) and claim.allocation != assignment.id
