"""What should happen to one service now, in words that placement and manifests can follow.

Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from scheduler.allocs import Alloc
from shared.model import AllocId, NodeName, ServiceSpec, Want

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
        node: the only one that is; None: any.
        spec: the version.
        replaces: what leaves its manifest in the write that places it.
        is_urgent: users wait for it: a node that has the image is the best one.
    """

    slot: int
    want: Want = Want.RUN
    attempt: int = 0
    avoid: frozenset[NodeName] = frozenset()
    barred: frozenset[NodeName] = frozenset()
    node: NodeName | None = None
    spec: ServiceSpec
    replaces: tuple[AllocId, ...] = ()
    is_urgent: bool = False
    reason: str


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """What should happen to one service now; reasons by allocation.

    Attributes:
        activate: standbys that take the place of a new allocation.
        soaking: allocations that get no requests yet: another of their slot serves until they are
            proven.
        wake_in_s: when time alone will change this.
    """

    drop: Mapping[AllocId, str] = {}
    drain: Mapping[AllocId, str] = {}
    activate: Mapping[AllocId, Wanted] = {}
    wanted: tuple[Wanted, ...] = ()
    soaking: frozenset[AllocId] = frozenset()
    wake_in_s: float | None = None


class Mark(msgspec.Struct, frozen=True):
    """How far a service's update was when it last got further, and when that was."""

    far: tuple[int, ...]
    since: float


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """What the leader remembers that matters here, and now, on one monotonic clock.

    `ready_since` is of the present start of each container.
    """

    now: float
    failed_since: Mapping[AllocId, float] = {}
    draining_since: Mapping[AllocId, float] = {}
    ready_since: Mapping[AllocId, float] = {}

    def ready_left_s(self, alloc: Alloc, monitor_s: float) -> float:
        """Return how much longer a ready allocation has to stay so until it is proven."""
        return self.ready_since.get(alloc.id, self.now) + monitor_s - self.now


def merged(parts: Iterable[Changes]) -> Changes:
    """Return all of the changes as one."""
    drop: dict[AllocId, str] = {}
    drain: dict[AllocId, str] = {}
    activate: dict[AllocId, Wanted] = {}
    wanted: list[Wanted] = []
    soaking: frozenset[AllocId] = frozenset()
    waits: list[float] = []
    for part in parts:
        drop |= part.drop
        drain |= part.drain
        activate |= part.activate
        wanted += part.wanted
        soaking |= part.soaking
        waits += [] if part.wake_in_s is None else [part.wake_in_s]
    return Changes(
        drop=drop,
        drain=drain,
        activate=activate,
        wanted=tuple(wanted),
        soaking=soaking,
        wake_in_s=min(waits, default=None),
    )


def retried(wanted: Wanted, failed: Sequence[Alloc], times: Times) -> Changes:
    """Return `wanted` in place of what failed, on another node, once the backoff is over."""
    last = max(failed, key=lambda alloc: (alloc.assignment.attempt, alloc.epoch, alloc.id))
    waited = times.now - times.failed_since.get(last.id, times.now)
    wait_s = retry_s(last.assignment.attempt)
    if waited < wait_s:
        return Changes(wake_in_s=wait_s - waited)
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
