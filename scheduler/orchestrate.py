"""What one service needs: which allocations go, which drain, which slots want a new one, and why.

Pure. Asked is the spec; observed are the service's allocations with what their nodes say. A slot is
replaced start-first: the old allocation drains only once the new one is ready.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from scheduler.nodes import Verdict
from scheduler.world import World
from shared.model import (
    AllocationStatus,
    AllocId,
    Assignment,
    Health,
    NodeName,
    ServiceName,
    ServiceSpec,
    StackName,
    Want,
)
from shared.states import AllocState

# A replica that fails at once is tried again soon, one that keeps failing ever more rarely.
RETRY_BASE_S: Final = 1.0
RETRY_LIMIT_S: Final = 60.0
# 1 s doubled six times is past the limit.
_RETRY_EXPONENT_MAX: Final = 6
# Past this a gateway that never acks, or a client that never ends, no longer holds a replica back.
DRAIN_LIMIT_S: Final = 30.0
# How many slots of one service may be between old and new at a time.
UPDATE_PARALLELISM: Final = 1


class Alloc(msgspec.Struct, frozen=True):
    """An assignment, where it is, and what is known of it.

    `status` None: its node has not reported it.
    """

    assignment: Assignment
    node: NodeName
    verdict: Verdict
    status: AllocationStatus | None

    @property
    def id(self) -> AllocId:
        """Return the allocation's id."""
        return self.assignment.id

    @property
    def is_lost(self) -> bool:
        """Say whether its node is given up."""
        return self.verdict is Verdict.LOST

    @property
    def has_failed(self) -> bool:
        """Say whether its node gave it up."""
        return self.status is not None and self.status.state is AllocState.FAILED

    @property
    def is_ready(self) -> bool:
        """Say whether it can take requests, as far as anyone knows."""
        return (
            not self.is_lost
            and self.status is not None
            and self.status.state is AllocState.RUNNING
            and self.status.health is Health.HEALTHY
        )


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A slot that wants a new allocation.

    `replaces` leave their manifests in the write that places it.
    """

    slot: int
    attempt: int = 0
    avoid: frozenset[NodeName] = frozenset()
    replaces: tuple[AllocId, ...] = ()
    reason: str


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What should happen to one service now; reasons by allocation.

    `retry_in_s` is when a failed slot may be tried again.
    """

    drop: Mapping[AllocId, str] = {}
    drain: Mapping[AllocId, str] = {}
    wanted: tuple[Wanted, ...] = ()
    retry_in_s: float | None = None


class Asked(msgspec.Struct, frozen=True):
    """One service as the person asked for it; `spec` None: it should not run at all."""

    stack: StackName
    service: ServiceName
    spec: ServiceSpec | None

    @property
    def replicas(self) -> int:
        """Return how many slots there should be."""
        return self.spec.replicas if self.spec is not None else 0


class Times(msgspec.Struct, frozen=True):
    """What the leader remembers that matters here, and now, on one monotonic clock."""

    now: float
    failed_since: Mapping[AllocId, float] = {}
    draining_since: Mapping[AllocId, float] = {}


def allocs_of(world: World, verdicts: Mapping[NodeName, Verdict]) -> tuple[Alloc, ...]:
    """Return every allocation that a manifest names, in order of id."""
    found = []
    for name, node in world.nodes.items():
        seen = {} if node.report is None else {each.id: each for each in node.report.allocations}
        found += [
            Alloc(assignment, name, verdicts[name], seen.get(assignment.id))
            for assignment in node.assignments
        ]
    return tuple(sorted(found, key=lambda alloc: alloc.id))


def orchestrate(
    asked: Asked, allocs: Sequence[Alloc], drained: frozenset[AllocId], times: Times
) -> Changes:
    """Return what one service needs now.

    Args:
        asked: the service as it should be.
        allocs: all its allocations.
        drained: those that no gateway sends anything to any more.
        times: for backoff and the drain limit.
    """
    slots = _by_slot(asked, allocs)
    updating = sum(1 for members in slots.values() if _is_updating(asked, members))
    parts: list[Changes] = []
    for slot, members in sorted(slots.items()):
        going = [alloc for alloc in members if alloc.assignment.want is Want.DRAIN]
        staying = [alloc for alloc in members if alloc.assignment.want is Want.RUN]
        parts.append(_finish_draining(going, drained, times))
        if slot > asked.replicas:
            parts.append(_wind_down(staying, "it is no longer asked for"))
            continue
        part = _fill(asked, slot, staying, times, may_update=updating < UPDATE_PARALLELISM)
        updating += 1 if part.wanted and any(alloc.is_ready for alloc in staying) else 0
        parts.append(part)
    return _merge(parts)


def _by_slot(asked: Asked, allocs: Iterable[Alloc]) -> Mapping[int, Sequence[Alloc]]:
    slots: dict[int, list[Alloc]] = {slot: [] for slot in range(1, asked.replicas + 1)}
    for alloc in allocs:
        slots.setdefault(alloc.assignment.slot, []).append(alloc)
    return slots


def _is_fresh(asked: Asked, alloc: Alloc) -> bool:
    return asked.spec is not None and alloc.assignment.workload == asked.spec.workload


def _is_updating(asked: Asked, members: Sequence[Alloc]) -> bool:
    fresh = [alloc for alloc in members if _is_fresh(asked, alloc) and not alloc.is_lost]
    has_old = any(not _is_fresh(asked, alloc) and not alloc.is_lost for alloc in members)
    return has_old and bool(fresh) and not any(alloc.is_ready for alloc in fresh)


def _finish_draining(going: Iterable[Alloc], drained: frozenset[AllocId], times: Times) -> Changes:
    drop: dict[AllocId, str] = {}
    for alloc in going:
        since = times.draining_since.get(alloc.id, times.now)
        if alloc.is_lost or alloc.has_failed:
            drop[alloc.id] = "it was to go, and is gone"
        elif alloc.id in drained:
            drop[alloc.id] = "no gateway uses it any more"
        elif times.now - since >= DRAIN_LIMIT_S:
            drop[alloc.id] = f"it did not drain within {DRAIN_LIMIT_S:g} s"
    return Changes(drop=drop)


def _wind_down(staying: Iterable[Alloc], reason: str) -> Changes:
    drop: dict[AllocId, str] = {}
    drain: dict[AllocId, str] = {}
    for alloc in staying:
        (drop if alloc.is_lost or alloc.has_failed else drain)[alloc.id] = reason
    return Changes(drop=drop, drain=drain)


def _fill(
    asked: Asked, slot: int, staying: Sequence[Alloc], times: Times, *, may_update: bool
) -> Changes:
    """Return what brings one wanted slot to exactly one fresh allocation that is ready."""
    fresh = [alloc for alloc in staying if _is_fresh(asked, alloc)]
    old = [alloc for alloc in staying if not _is_fresh(asked, alloc)]
    alive = [alloc for alloc in fresh if not alloc.is_lost and not alloc.has_failed]
    if alive:
        return _settle(alive, old, [alloc for alloc in fresh if alloc not in alive])
    if any(alloc.is_ready for alloc in old) and not may_update:
        return Changes()
    failed = [alloc for alloc in fresh if alloc.has_failed and not alloc.is_lost]
    if failed:
        return _retry(slot, failed, [alloc for alloc in fresh if alloc.is_lost], times)
    lost = [alloc for alloc in staying if alloc.is_lost]
    return Changes(
        wanted=(
            Wanted(
                slot=slot,
                replaces=tuple(alloc.id for alloc in lost),
                reason=_why_wanted(lost, old),
            ),
        )
    )


def _why_wanted(lost: Sequence[Alloc], old: Sequence[Alloc]) -> str:
    if lost:
        return f"{lost[0].node} is lost"
    return "its service has changed" if old else "its slot is empty"


def _settle(alive: Sequence[Alloc], old: Sequence[Alloc], spent: Sequence[Alloc]) -> Changes:
    """Keep one fresh allocation, the readiest, then the oldest; let go of what it replaces."""
    keep = min(alive, key=lambda alloc: (not alloc.is_ready, alloc.id))
    surplus = _wind_down((alloc for alloc in alive if alloc is not keep), "its slot is filled")
    gone = Changes(drop={alloc.id: f"{keep.id} took its slot" for alloc in spent})
    if not keep.is_ready:
        # An old allocation serves until the new one can; a lost one cannot.
        return _merge(
            [surplus, gone, _wind_down((a for a in old if a.is_lost), "its node is lost")]
        )
    return _merge([surplus, gone, _wind_down(old, f"{keep.id} took its slot")])


def _retry(slot: int, failed: Sequence[Alloc], lost: Sequence[Alloc], times: Times) -> Changes:
    last = max(failed, key=lambda alloc: (alloc.assignment.attempt, alloc.id))
    waited = times.now - times.failed_since.get(last.id, times.now)
    wait_s = retry_s(last.assignment.attempt)
    if waited < wait_s:
        return Changes(retry_in_s=wait_s - waited)
    why = last.status.reason if last.status is not None else ""
    return Changes(
        wanted=(
            Wanted(
                slot=slot,
                attempt=last.assignment.attempt + 1,
                avoid=frozenset(alloc.node for alloc in failed),
                replaces=tuple(alloc.id for alloc in (*failed, *lost)),
                reason=f"{last.id} failed on {last.node}: {why}",
            ),
        )
    )


def retry_s(attempt: int) -> float:
    """Return how long a slot waits after its allocation number `attempt` failed."""
    return min(RETRY_BASE_S * 2.0 ** min(attempt, _RETRY_EXPONENT_MAX), RETRY_LIMIT_S)


def _merge(parts: Iterable[Changes]) -> Changes:
    drop: dict[AllocId, str] = {}
    drain: dict[AllocId, str] = {}
    wanted: list[Wanted] = []
    waits: list[float] = []
    for part in parts:
        drop |= part.drop
        drain |= part.drain
        wanted += part.wanted
        waits += [] if part.retry_in_s is None else [part.retry_in_s]
    return Changes(
        drop=drop, drain=drain, wanted=tuple(wanted), retry_in_s=min(waits, default=None)
    )
