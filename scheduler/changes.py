"""What should happen to one service now, in words that placement and manifests can follow.

Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from scheduler.allocs import Alloc
from shared.model import AllocId, NodeName, Want

# A replica that fails at once is tried again soon, one that keeps failing ever more rarely.
RETRY_BASE_S: Final = 1.0
RETRY_LIMIT_S: Final = 60.0
# 1 s doubled six times is past the limit.
_RETRY_EXPONENT_MAX: Final = 6


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A slot that wants a new allocation.

    Attributes:
        slot: 0 for a standby.
        avoid: nodes that are taken only if no other fits.
        barred: nodes that are not taken at all.
        replaces: what leaves its manifest in the write that places it.
        is_urgent: users wait for it: a node that has the image is the best one.
    """

    slot: int
    want: Want = Want.RUN
    attempt: int = 0
    avoid: frozenset[NodeName] = frozenset()
    barred: frozenset[NodeName] = frozenset()
    replaces: tuple[AllocId, ...] = ()
    is_urgent: bool = False
    reason: str


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What should happen to one service now; reasons by allocation.

    Attributes:
        activate: standbys that take the place of a new allocation.
        retry_in_s: when a failed slot may be tried again.
    """

    drop: Mapping[AllocId, str] = {}
    drain: Mapping[AllocId, str] = {}
    activate: Mapping[AllocId, Wanted] = {}
    wanted: tuple[Wanted, ...] = ()
    retry_in_s: float | None = None


class Times(msgspec.Struct, frozen=True):
    """What the leader remembers that matters here, and now, on one monotonic clock."""

    now: float
    failed_since: Mapping[AllocId, float] = {}
    draining_since: Mapping[AllocId, float] = {}


def merged(parts: Iterable[Changes]) -> Changes:
    """Return all of the changes as one."""
    drop: dict[AllocId, str] = {}
    drain: dict[AllocId, str] = {}
    activate: dict[AllocId, Wanted] = {}
    wanted: list[Wanted] = []
    waits: list[float] = []
    for part in parts:
        drop |= part.drop
        drain |= part.drain
        activate |= part.activate
        wanted += part.wanted
        waits += [] if part.retry_in_s is None else [part.retry_in_s]
    return Changes(
        drop=drop,
        drain=drain,
        activate=activate,
        wanted=tuple(wanted),
        retry_in_s=min(waits, default=None),
    )


def retried(wanted: Wanted, failed: Sequence[Alloc], times: Times) -> Changes:
    """Return `wanted` in place of what failed, on another node, once the backoff is over."""
    last = max(failed, key=lambda alloc: (alloc.assignment.attempt, alloc.epoch, alloc.id))
    waited = times.now - times.failed_since.get(last.id, times.now)
    wait_s = retry_s(last.assignment.attempt)
    if waited < wait_s:
        return Changes(retry_in_s=wait_s - waited)
    why = last.status.reason if last.status is not None else ""
    again = msgspec.structs.replace(
        wanted,
        attempt=last.assignment.attempt + 1,
        avoid=wanted.avoid | {alloc.node for alloc in failed},
        replaces=(*(alloc.id for alloc in failed), *wanted.replaces),
        reason=f"{last.id} failed on {last.node}: {why}",
    )
    return Changes(wanted=(again,))


def retry_s(attempt: int) -> float:
    """Return how long a slot waits after its allocation number `attempt` failed."""
    return min(RETRY_BASE_S * 2.0 ** min(attempt, _RETRY_EXPONENT_MAX), RETRY_LIMIT_S)
