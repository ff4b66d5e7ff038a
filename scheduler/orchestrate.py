"""What one service needs: which allocations go, which drain, which slots want a new one, and why.

Pure. Asked is what each slot should have now; observed are the service's allocations with what
their nodes say. A slot is replaced start-first: the old allocation drains only once the new one is
proven, or, where at most one may run, made. Where two would be in each other's way the old one goes
first.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from scheduler.allocs import Alloc, Asked, SlotPlan
from scheduler.changes import Changes, Times, Wanted, merged, retried
from scheduler.standby import with_standbys
from scheduler.strategy import order_of
from shared.model import AllocId, Order, Want
from shared.ports import host_ports

# Past this a gateway that never acks, or a client that never ends, no longer holds a replica back;
# nor past the grace that its service gives: an open websocket would hold up every update.
DRAIN_LIMIT_S: Final = 30.0
_DRAIN_LEAST_S: Final = 1.0
_CHANGED: Final = "its service has changed"


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
    standbys = [alloc for alloc in allocs if alloc.assignment.want is Want.STANDBY]
    replicas = [alloc for alloc in allocs if alloc.assignment.want is not Want.STANDBY]
    slots: dict[int, list[Alloc]] = {slot: [] for slot in asked.slots}
    for alloc in replicas:
        slots.setdefault(alloc.assignment.slot, []).append(alloc)
    parts = [
        _one_slot(asked, slot, members, drained, times) for slot, members in sorted(slots.items())
    ]
    changes = merged([*parts, Changes(soaking=_soaking(asked, replicas))])
    if standbys or asked.standby:
        return with_standbys(asked, changes, replicas, standbys, times)
    return changes


def _one_slot(
    asked: Asked,
    slot: int,
    members: Sequence[Alloc],
    drained: frozenset[AllocId],
    times: Times,
) -> Changes:
    going = [alloc for alloc in members if alloc.assignment.want is Want.DRAIN]
    staying = [alloc for alloc in members if alloc.assignment.want is Want.RUN]
    plan = asked.slots.get(slot)
    leaving = _finish_draining(going, drained, times)
    if plan is None:
        return merged(
            [leaving, _wind_down(staying, _why_gone(staying, "it is no longer asked for"))]
        )
    if going and goes_first(asked, plan):
        # The one before has not ended yet.
        return leaving
    return merged([leaving, _fill(asked, plan, slot, staying, times)])


def _finish_draining(going: Iterable[Alloc], drained: frozenset[AllocId], times: Times) -> Changes:
    drop: dict[AllocId, str] = {}
    ends: list[float] = []
    for alloc in going:
        limit_s = drain_limit_s(alloc)
        left_s = times.draining_since.get(alloc.id, times.now) + limit_s - times.now
        if alloc.is_lost or alloc.has_failed or alloc.is_complete:
            drop[alloc.id] = "it was to go, and is gone"
        elif alloc.id in drained:
            drop[alloc.id] = "no gateway uses it any more"
        elif left_s <= 0:
            drop[alloc.id] = f"it did not drain within {limit_s:g} s"
        else:
            ends.append(left_s)
    return Changes(drop=drop, wake_in_s=min(ends, default=None))


def drain_limit_s(alloc: Alloc) -> float:
    """Return how long requests in flight may hold a replica back."""
    grace_s = alloc.assignment.workload.stop_grace_period_s
    return min(max(grace_s, _DRAIN_LEAST_S), DRAIN_LIMIT_S)


def _wind_down(staying: Iterable[Alloc], reason: str) -> Changes:
    drop: dict[AllocId, str] = {}
    drain: dict[AllocId, str] = {}
    for alloc in staying:
        is_over = alloc.is_lost or alloc.has_failed or alloc.is_complete
        (drop if is_over else drain)[alloc.id] = reason
    return Changes(drop=drop, drain=drain)


def _why_gone(allocs: Iterable[Alloc], otherwise: str) -> str:
    """Return why allocations are not to stay: their node is being drained, or something else."""
    node = next((alloc.node for alloc in allocs if alloc.must_leave), None)
    return f"{node} is being drained" if node is not None else otherwise


def goes_first(asked: Asked, plan: SlotPlan) -> bool:
    """Say whether what a slot has must have ended before it gets anything new.

    Of exclusive work the claim sees to that, and the new one is made meanwhile.
    """
    if plan.spec is None:
        return False
    if asked.is_crowded and host_ports(plan.spec.workload):
        return True
    return not asked.is_exclusive and order_of(plan.spec) is Order.STOP_FIRST


def _fill(
    asked: Asked, plan: SlotPlan, slot: int, staying: Sequence[Alloc], times: Times
) -> Changes:
    """Return what brings one wanted slot to exactly one fresh allocation that is ready.

    One on an unreachable node does not fill the slot and yet stays where it is: it may be alive.
    Once it is seen again, one of the two is surplus.
    """
    past = [alloc for alloc in staying if _is_past(asked, alloc)]
    if past:
        # It never runs again: where it is, the next one may be placed.
        rest = [alloc for alloc in staying if alloc not in past]
        gone = _wind_down(past, "a newer copy has run since")
        return merged([gone, _fill(asked, plan, slot, rest, times)])
    fresh = [alloc for alloc in staying if plan.fits(alloc)]
    old = [alloc for alloc in staying if alloc not in fresh]
    alive = [
        alloc for alloc in fresh if alloc.is_complete or not (alloc.is_given_up or alloc.has_failed)
    ]
    if alive:
        spent = [
            alloc for alloc in fresh if alloc not in alive and (alloc.is_lost or alloc.has_failed)
        ]
        return _settle(asked, plan, alive, old, spent)
    if plan.spec is None or plan.waits_for:
        return _old_surplus(old)
    if goes_first(asked, plan):
        cleared = _clear(asked, slot, old)
        if cleared is not None:
            return cleared
    return merged([_old_surplus(old), _wanted(plan, slot, staying, fresh, times)])


def _clear(asked: Asked, slot: int, old: Sequence[Alloc]) -> Changes | None:
    """Return what ends the slot's old allocations; None: nothing of them is left.

    What still answers goes only once the next one could begin: its image is where it will be, and
    some node takes it.
    """
    if any(alloc.is_ready for alloc in old) and (asked.image_waits or slot in asked.stuck):
        return _old_surplus(old)
    present = [alloc for alloc in old if not alloc.is_given_up]
    if present:
        why = f"{_why_gone(present, _CHANGED)}, and two would be in each other's way"
        return _wind_down(present, why)
    return Changes() if slot in asked.leaving else None


def _wanted(
    plan: SlotPlan,
    slot: int,
    staying: Sequence[Alloc],
    fresh: Sequence[Alloc],
    times: Times,
) -> Changes:
    assert plan.spec is not None, "a slot without a version wants nothing"
    gone = [alloc for alloc in staying if alloc.is_given_up]
    wanted = Wanted(
        slot=slot,
        node=plan.node,
        spec=plan.spec,
        replaces=tuple(alloc.id for alloc in staying if alloc.is_lost),
        is_urgent=bool(gone),
        reason=_why_wanted(gone, [alloc for alloc in staying if alloc not in fresh]),
    )
    failed = [alloc for alloc in fresh if alloc.has_failed and not alloc.is_lost]
    if any(alloc.has_had_its_starts for alloc in fresh):
        return Changes()
    return retried(wanted, failed, times) if failed else Changes(wanted=(wanted,))


def _is_past(asked: Asked, alloc: Alloc) -> bool:
    """Say whether a newer one has run in the slot: then this one never may, nor does it now."""
    newest = asked.claimed.get(alloc.assignment.slot, 0)
    return asked.is_exclusive and alloc.epoch < newest


def _old_surplus(old: Iterable[Alloc]) -> Changes:
    """Let go of all old allocations but one: a host that is back during an update brings another.

    Which one serves until the update is through is decided as between fresh ones.
    """
    ready = sorted((alloc for alloc in old if alloc.is_ready), key=lambda alloc: alloc.preference)
    return _wind_down(ready[1:], "its slot is filled")


def _why_wanted(gone: Sequence[Alloc], old: Sequence[Alloc]) -> str:
    if gone:
        return f"{gone[0].node} is {gone[0].verdict}"
    return _why_gone(old, _CHANGED) if old else "its slot is empty"


def _settle(
    asked: Asked,
    plan: SlotPlan,
    alive: Sequence[Alloc],
    old: Sequence[Alloc],
    spent: Sequence[Alloc],
) -> Changes:
    """Keep one fresh allocation, the one longest ready; let go of what it replaces."""
    keep = alive[0] if len(alive) == 1 else min(alive, key=lambda alloc: alloc.preference)
    surplus = _wind_down((alloc for alloc in alive if alloc is not keep), "its slot is filled")
    gone = Changes(drop={alloc.id: f"{keep.id} took its slot" for alloc in spent})
    if _has_taken_over(asked, keep, old) and not plan.keeps_old:
        return merged([surplus, gone, _wind_down(old, f"{keep.id} took its slot")])
    # An old allocation serves until the new one can; a lost one cannot.
    lost = _wind_down((alloc for alloc in old if alloc.is_lost), "its node is lost")
    return merged([surplus, gone, lost, _old_surplus(old)])


def _has_taken_over(asked: Asked, keep: Alloc, old: Sequence[Alloc]) -> bool:
    """Say whether the new one can do without the old: it serves, or the old one serves nobody."""
    if asked.is_exclusive:
        return keep.is_ready or (keep.is_prepared and keep.assignment.slot not in asked.stuck)
    if keep.is_complete or (keep.is_ready and not asked.is_on_trial(keep)):
        return True
    return keep.is_ready and not any(alloc.is_ready for alloc in old)


def _soaking(asked: Asked, replicas: Sequence[Alloc]) -> frozenset[AllocId]:
    """Return the copies that get no requests yet: others serve until they are proven.

    Where all slots have a canary beside them, it is the other colour: nobody sees it before.
    """
    trial = asked.trial
    if trial is None or not any(alloc.is_ready and not alloc.has(trial) for alloc in replicas):
        return frozenset()
    is_hidden = asked.is_second_colour
    return frozenset(
        alloc.id
        for alloc in replicas
        if asked.is_on_trial(alloc) or (is_hidden and alloc.has(trial))
    )
