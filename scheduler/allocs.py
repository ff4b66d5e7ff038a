"""What the leader reasons about: services as they were asked for, and their allocations.

Pure.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from scheduler.nodes import Judged, Verdict
from scheduler.world import ServiceId, World
from shared.model import (
    AllocationStatus,
    AllocId,
    Assignment,
    Health,
    NodeName,
    ServiceName,
    ServiceSpec,
    StackName,
)
from shared.states import AllocState


class Alloc(msgspec.Struct, frozen=True):
    """An assignment, where it is, and what is known of it.

    Attributes:
        status: None: its node has not reported it.
        is_doubted: a peer misses its node's host.
        is_claimed_by_other: it is exclusive, and another allocation holds its slot's claim: what
            its node last said of it is out of date.
    """

    assignment: Assignment
    node: NodeName
    verdict: Verdict
    status: AllocationStatus | None
    is_doubted: bool = False
    is_claimed_by_other: bool = False

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
    def has_failed(self) -> bool:
        """Say whether its node gave it up."""
        return self.status is not None and self.status.state is AllocState.FAILED

    @property
    def is_prepared(self) -> bool:
        """Say whether its container is made, and only has to be started."""
        status = self.status
        return status is not None and status.state is AllocState.PREPARING and bool(status.address)

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


class Asked(msgspec.Struct, frozen=True):
    """One service as the person asked for it; `spec` None: it should not run at all.

    `claimed` is, per exclusive slot, the epoch of the allocation that has or last had its claim.
    """

    stack: StackName
    service: ServiceName
    spec: ServiceSpec | None
    claimed: Mapping[int, int] = {}

    @property
    def replicas(self) -> int:
        """Return how many slots there should be."""
        return self.spec.replicas if self.spec is not None else 0

    @property
    def standby(self) -> int:
        """Return how many containers should be made beforehand."""
        return self.spec.standby if self.spec is not None and self.spec.replicas else 0

    @property
    def is_exclusive(self) -> bool:
        """Say whether at most one copy of a slot may run."""
        return self.spec is not None and self.spec.workload.exclusive

    def is_fresh(self, alloc: Alloc) -> bool:
        """Say whether an allocation runs what is asked for now."""
        return self.spec is not None and alloc.assignment.workload == self.spec.workload


def allocs_of(world: World, judged: Judged) -> tuple[Alloc, ...]:
    """Return every allocation that a manifest names, in order of id."""
    found = [
        alloc
        for name, node in world.nodes.items()
        for alloc in allocs_on(world, judged, name, node.assignments)
    ]
    return tuple(sorted(found, key=lambda alloc: alloc.id))


def allocs_on(
    world: World, judged: Judged, node: NodeName, assignments: Iterable[Assignment]
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
        )
        for each in assignments
    ]


def _is_claimed_by_other(world: World, assignment: Assignment) -> bool:
    if not assignment.workload.exclusive:
        return False
    claim = world.claims.get((assignment.stack, assignment.service, assignment.slot))
    return claim is not None and bool(claim.node) and claim.allocation != assignment.id


def asked_services(world: World, allocs: Iterable[Alloc]) -> Mapping[ServiceId, Asked]:
    """Return every service that is asked for or still has allocations.

    Frozen stacks are left out.
    """
    claimed: dict[ServiceId, dict[int, int]] = {}
    for (stack, service, slot), claim in world.claims.items():
        claimed.setdefault((stack, service), {})[slot] = claim.epoch
    services = {
        (name, spec.name): Asked(name, spec.name, spec, claimed.get((name, spec.name), {}))
        for name, state in world.stacks.items()
        for spec in state.stack.services
    }
    for alloc in allocs:
        key = (alloc.assignment.stack, alloc.assignment.service)
        services.setdefault(key, Asked(*key, None))
    return {key: services[key] for key in sorted(services) if key[0] not in world.frozen_stacks}
