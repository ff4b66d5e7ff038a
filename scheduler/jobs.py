"""Services that end: when a run begins, which of its slots are through, which are tried again.

Pure. A run has a number, which its containers' workloads carry: another number, another container.
A copy that has ended well stays in its node's manifest, so that people can read what it wrote,
until the next run begins.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from scheduler import cron
from scheduler.allocs import Alloc, Asked, SlotPlan
from scheduler.changes import Changes, Times, Wanted, merged, retried
from scheduler.rollout import Wish
from shared.model import (
    Overlap,
    Rollout,
    RolloutPhase,
    ServiceSpec,
)

P = RolloutPhase
# A copy that its nodes gave up so many times in a row is given up: the run has failed.
ATTEMPTS_MAX: Final = 4


def with_run(spec: ServiceSpec, run: int) -> ServiceSpec:
    """Return a job's version as its containers of one run have it."""
    workload = msgspec.structs.replace(spec.workload, run=run)
    return msgspec.structs.replace(spec, workload=workload)


def advance_job(rollout: Rollout, wish: Wish, allocs: Sequence[Alloc], slots: int) -> Rollout:
    """Return the record after looking at the clock and the copies.

    Args:
        rollout: what `rollout.wanted` returned.
        wish: what people want, and the wall clock.
        allocs: the job's.
        slots: how many copies a run has.
    """
    begun = _due(rollout, wish, allocs)
    if begun.phase is not P.ROLLING or not begun.run:
        return begun
    version = with_run(begun.target, begun.run)
    own = [alloc for alloc in allocs if alloc.runs(version.workload)]
    if wish.spec.is_stopped:
        return begun
    given_up = [alloc for alloc in own if is_given_up(alloc)]
    if given_up:
        last = given_up[-1]
        why = (last.status.reason if last.status is not None else "") or "it failed"
        reason = f"run {begun.run}: {last.assignment.slot} on {last.node}: {why}"
        return msgspec.structs.replace(begun, phase=P.FAILED, reason=reason)
    complete = {alloc.assignment.slot for alloc in own if alloc.is_complete}
    if len(complete) >= slots:
        return msgspec.structs.replace(begun, phase=P.DONE, stable=begun.target, reason="")
    return begun


def _due(rollout: Rollout, wish: Wish, allocs: Sequence[Alloc]) -> Rollout:
    """Return the record with a new run begun, if one is due."""
    schedule = rollout.target.schedule
    if schedule is None:
        # Each version of it runs once.
        is_new = rollout.phase is P.ROLLING and not rollout.is_promoted
        return _begin(rollout, rollout.due_at_s) if is_new else rollout
    last_s = cron.due(schedule, wish.wall_s).last_s
    if last_s is None or last_s <= rollout.due_at_s or not rollout.due_at_s:
        # What was due before anybody asked for it is not made up for.
        first_s = rollout.due_at_s or last_s or wish.wall_s
        return msgspec.structs.replace(rollout, phase=_idle(rollout), due_at_s=first_s)
    is_busy = any(not alloc.is_complete and not is_given_up(alloc) for alloc in allocs)
    if is_busy and schedule.overlap is Overlap.SKIP:
        return msgspec.structs.replace(rollout, due_at_s=last_s)
    return _begin(rollout, last_s)


def _idle(rollout: Rollout) -> RolloutPhase:
    """Return the phase of a scheduled job between its moments: a new version waits for the next."""
    return P.DONE if rollout.phase is P.ROLLING and not rollout.is_promoted else rollout.phase


def _begin(rollout: Rollout, due_at_s: float) -> Rollout:
    # `is_promoted` says that the version in hand has been begun.
    return msgspec.structs.replace(
        rollout,
        phase=P.ROLLING,
        run=rollout.run + 1,
        due_at_s=due_at_s,
        reason="",
        is_promoted=True,
    )


def is_given_up(alloc: Alloc) -> bool:
    """Say whether a copy is not tried again, here or elsewhere."""
    if not alloc.has_failed:
        return False
    is_counted = alloc.assignment.workload.restart.max_attempts is not None
    return is_counted or alloc.assignment.attempt + 1 >= ATTEMPTS_MAX


def plan_job(rollout: Rollout, numbers: Sequence[int], waits_for: str) -> Mapping[int, SlotPlan]:
    """Return what each slot of the newest run should have."""
    if not rollout.run:
        return {}
    version = with_run(rollout.target, rollout.run)
    return {slot: SlotPlan(spec=version, waits_for=waits_for) for slot in numbers}


def orchestrate_job(asked: Asked, allocs: Sequence[Alloc], times: Times) -> Changes:
    """Return what one job needs now.

    Args:
        asked: the slots of its newest run.
        allocs: all its allocations.
        times: for backoff.
    """
    slots: dict[int, list[Alloc]] = defaultdict(list)
    for alloc in allocs:
        slots[alloc.assignment.slot].append(alloc)
    parts = []
    busy = sum(_is_busy(alloc) for alloc in allocs)
    most = asked.spec.max_concurrent if asked.spec is not None else 0
    for slot in sorted(slots.keys() | asked.slots.keys()):
        plan = asked.slots.get(slot)
        part = _one_slot(plan, slot, slots[slot], times, may_begin=not most or busy < most)
        busy += len(part.wanted)
        parts.append(part)
    return merged(parts)


def _is_busy(alloc: Alloc) -> bool:
    return not alloc.is_complete and not alloc.has_failed and not alloc.is_given_up


def _one_slot(
    plan: SlotPlan | None,
    slot: int,
    members: Sequence[Alloc],
    times: Times,
    *,
    may_begin: bool,
) -> Changes:
    if plan is None:
        return Changes(drop={alloc.id: "it is no longer asked for" for alloc in members})
    fresh = [alloc for alloc in members if _is_of(plan, alloc)]
    old = [alloc for alloc in members if alloc not in fresh]
    gone = Changes(drop={alloc.id: "a newer run has begun" for alloc in old})
    alive = sorted((alloc for alloc in fresh if _is_through_or_on(alloc)), key=_preference)
    if alive:
        rest = {alloc.id: f"{alive[0].id} took its slot" for alloc in fresh if alloc != alive[0]}
        return merged([gone, Changes(drop=rest)])
    if plan.spec is None or plan.waits_for or not may_begin or any(map(is_given_up, fresh)):
        return gone
    wanted = Wanted(
        slot=slot,
        node=plan.node,
        spec=plan.spec,
        replaces=tuple(alloc.id for alloc in fresh if alloc.is_lost),
        reason=f"{fresh[0].node} is {fresh[0].verdict}" if fresh else "its run has begun",
    )
    failed = [alloc for alloc in fresh if alloc.has_failed and not alloc.is_lost]
    return merged([gone, retried(wanted, failed, times) if failed else Changes(wanted=(wanted,))])


def _is_of(plan: SlotPlan, alloc: Alloc) -> bool:
    """Say whether a copy is of the run in hand.

    It runs to its end where it is, though its node is being drained or has other labels by now; and
    what has ended is not begun again for that.
    """
    return (
        plan.spec is not None and plan.node in {None, alloc.node} and alloc.runs(plan.spec.workload)
    )


def _is_through_or_on(alloc: Alloc) -> bool:
    """Say whether a copy needs no other: what has ended well has, whatever became of its node."""
    return alloc.is_complete or (not alloc.is_given_up and not alloc.has_failed)


def _preference(alloc: Alloc) -> tuple[bool, int, str]:
    return not alloc.is_complete, alloc.epoch, alloc.id
