"""What can be seen of a service's update: which slots are through, which copies have failed.

Pure. Times are the leader's monotonic seconds.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from scheduler.allocs import Alloc
from scheduler.changes import Times
from scheduler.strategy import is_canary, policy_of
from shared.model import AllocId, Rollout, Want

# The exit code of a container whose end nobody saw, as in a reboot: no fault of the version.
_EXIT_UNKNOWN: Final = 255


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """How far the version in hand is.

    Attributes:
        begun: slots that have a copy of it.
        settled: slots that have a proven copy of it and nothing else.
        occupied: slots that have anything.
        proven: copies that have been ready for as long as the policy demands, or have ended well.
        failed: copies that failed, with why.
        wake_in_s: when time alone will prove another copy.
    """

    begun: frozenset[int] = frozenset()
    settled: frozenset[int] = frozenset()
    occupied: frozenset[int] = frozenset()
    proven: frozenset[AllocId] = frozenset()
    failed: Mapping[AllocId, str] = {}
    wake_in_s: float | None = None


def look(rollout: Rollout, allocs: Iterable[Alloc], times: Times) -> Seen:
    """Return how far the version in hand is.

    Args:
        rollout: says which version that is.
        allocs: the service's, standbys left out.
        times: since when each has been ready.
    """
    slots: dict[int, list[Alloc]] = defaultdict(list)
    for alloc in allocs:
        if alloc.is_complete or not alloc.is_lost:
            slots[alloc.assignment.slot].append(alloc)
    monitor_s = policy_of(rollout).monitor_s
    left = {
        alloc.id: 0.0 if alloc.is_complete else times.ready_left_s(alloc, monitor_s)
        for members in slots.values()
        for alloc in members
        if alloc.is_ready or alloc.is_complete
    }
    proven = frozenset(id_ for id_, left_s in left.items() if left_s <= 0)
    fresh = {slot: _fresh(rollout, members) for slot, members in slots.items()}
    keeps_old = rollout.target.update.canary if is_canary(rollout) else 0
    return Seen(
        begun=frozenset(slot for slot, members in fresh.items() if members),
        settled=frozenset(
            slot
            for slot, members in fresh.items()
            if any(alloc.id in proven for alloc in members)
            and (slot <= keeps_old or len(members) == len(slots[slot]) == 1)
        ),
        occupied=frozenset(slots),
        proven=proven,
        failed={
            alloc.id: why
            for members in fresh.values()
            for alloc in members
            if (why := _why_failed(rollout, alloc))
        },
        wake_in_s=min((left_s for left_s in left.values() if left_s > 0), default=None),
    )


def _fresh(rollout: Rollout, members: Sequence[Alloc]) -> Sequence[Alloc]:
    return [
        alloc
        for alloc in members
        if alloc.assignment.want is Want.RUN
        and (alloc.is_complete or not alloc.is_given_up)
        and alloc.has(rollout.spec)
    ]


def _why_failed(rollout: Rollout, alloc: Alloc) -> str:
    """Return what is held against the version; empty: nothing.

    A copy that was there before this update was proven by the one before.
    """
    status = alloc.status
    if status is None or alloc.assignment.generation < rollout.generation:
        return ""
    where = f"{alloc.assignment.service} {alloc.assignment.slot} on {alloc.node}"
    if alloc.has_failed:
        return f"{where}: {status.reason or 'it failed'}"
    if alloc.restarts and status.exit_code not in {None, _EXIT_UNKNOWN}:
        return f"{where}: {_how_ended(status.exit_code, status.reason)}"
    return ""


def _how_ended(exit_code: int | None, reason: str) -> str:
    return reason or f"it ended with exit code {exit_code} soon after its start"
