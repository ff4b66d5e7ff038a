"""What one service needs: which allocations go, which drain, which slots want a new one, and why.

Pure. Asked is the spec; observed are the service's allocations with what their nodes say. A slot is
replaced start-first: the old allocation drains only once the new one is ready, or, where at most
one may run, made.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from scheduler.allocs import Alloc, Asked
from scheduler.changes import Changes, Times, Wanted, merged, retried
from scheduler.standby import with_standbys
from shared.model import AllocId, Want

# Past this a gateway that never acks, or a client that never ends, no longer holds a replica back.
DRAIN_LIMIT_S: Final = 30.0
# How many slots of one service may be between old and new at a time.
UPDATE_PARALLELISM: Final = 1


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
    changes = _fill_all(asked, replicas, drained, times)
    if standbys or asked.standby:
        return with_standbys(asked, changes, replicas, standbys, times)
    return changes


def _fill_all(
    asked: Asked, replicas: Sequence[Alloc], drained: frozenset[AllocId], times: Times
) -> Changes:
    slots = _by_slot(asked, replicas)
    updating = {slot for slot, members in slots.items() if _is_updating(asked, members)}
    parts: list[Changes] = []
    for slot, members in sorted(slots.items()):
        going = [alloc for alloc in members if alloc.assignment.want is Want.DRAIN]
        staying = [alloc for alloc in members if alloc.assignment.want is Want.RUN]
        parts.append(_finish_draining(going, drained, times))
        if slot > asked.replicas:
            parts.append(_wind_down(staying, "it is no longer asked for"))
            continue
        # One that is between old and new goes on: what failed there is tried again there.
        may_update = slot in updating or len(updating) < UPDATE_PARALLELISM
        part = _fill(asked, slot, staying, times, may_update=may_update)
        if part.wanted and any(alloc.is_ready for alloc in staying):
            updating.add(slot)
        parts.append(part)
    return merged(parts)


def _by_slot(asked: Asked, replicas: Iterable[Alloc]) -> Mapping[int, Sequence[Alloc]]:
    slots: dict[int, list[Alloc]] = {slot: [] for slot in range(1, asked.replicas + 1)}
    for alloc in replicas:
        slots.setdefault(alloc.assignment.slot, []).append(alloc)
    return slots


def _is_updating(asked: Asked, members: Sequence[Alloc]) -> bool:
    known = [alloc for alloc in members if not alloc.is_given_up]
    fresh = [alloc for alloc in known if asked.is_fresh(alloc)]
    return 0 < len(fresh) < len(known) and not any(alloc.is_ready for alloc in fresh)


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
    """Return what brings one wanted slot to exactly one fresh allocation that is ready.

    One on an unreachable node does not fill the slot and yet stays where it is: it may be alive.
    Once it is seen again, one of the two is surplus.
    """
    fresh = [alloc for alloc in staying if asked.is_fresh(alloc) and not _is_past(asked, alloc)]
    old = [alloc for alloc in staying if alloc not in fresh]
    alive = [alloc for alloc in fresh if not alloc.is_given_up and not alloc.has_failed]
    if alive:
        spent = [alloc for alloc in fresh if alloc.is_lost or alloc.has_failed]
        return _settle(alive, old, spent)
    surplus = _old_surplus(old)
    if any(alloc.is_ready for alloc in old) and not may_update:
        return surplus
    lost = [alloc for alloc in staying if alloc.is_lost]
    gone = [alloc for alloc in staying if alloc.is_given_up]
    wanted = Wanted(
        slot=slot,
        replaces=tuple(alloc.id for alloc in lost),
        is_urgent=bool(gone),
        reason=_why_wanted(gone, old),
    )
    failed = [alloc for alloc in fresh if alloc.has_failed and not alloc.is_lost]
    filled = retried(wanted, failed, times) if failed else Changes(wanted=(wanted,))
    return merged([surplus, filled])


def _is_past(asked: Asked, alloc: Alloc) -> bool:
    """Say whether a newer one has run in the slot meanwhile: then this one never may."""
    newest = asked.claimed.get(alloc.assignment.slot, -1)
    return asked.is_exclusive and not alloc.is_ready and alloc.epoch < newest


def _old_surplus(old: Iterable[Alloc]) -> Changes:
    """Let go of all old allocations but one: a host that is back during an update brings another.

    Which one serves until the update is through is decided as between fresh ones.
    """
    ready = sorted((alloc for alloc in old if alloc.is_ready), key=_preference)
    return _wind_down(ready[1:], "its slot is filled")


def _preference(alloc: Alloc) -> tuple[bool, bool, int, str]:
    return not alloc.is_ready, alloc.is_claimed_by_other, alloc.epoch, alloc.id


def _why_wanted(gone: Sequence[Alloc], old: Sequence[Alloc]) -> str:
    if gone:
        return f"{gone[0].node} is {gone[0].verdict}"
    return "its service has changed" if old else "its slot is empty"


def _settle(alive: Sequence[Alloc], old: Sequence[Alloc], spent: Sequence[Alloc]) -> Changes:
    """Keep one fresh allocation, the readiest, then the oldest; let go of what it replaces."""
    keep = min(alive, key=_preference)
    surplus = _wind_down((alloc for alloc in alive if alloc is not keep), "its slot is filled")
    gone = Changes(drop={alloc.id: f"{keep.id} took its slot" for alloc in spent})
    if keep.is_ready or _waits_for_claim(keep):
        return merged([surplus, gone, _wind_down(old, f"{keep.id} took its slot")])
    # An old allocation serves until the new one can; a lost one cannot.
    lost = _wind_down((alloc for alloc in old if alloc.is_lost), "its node is lost")
    return merged([surplus, gone, lost, _old_surplus(old)])


def _waits_for_claim(alloc: Alloc) -> bool:
    """Say whether all it still needs is that the one before it lets go of the slot."""
    return alloc.assignment.workload.exclusive and alloc.is_prepared
