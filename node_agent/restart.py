"""Whether a container that ended is started again, and when, or given up.

Pure. A container that lived long enough starts again at once. One that keeps ending quickly waits
longer each time and is then given up: the leader tries the slot on another node.
"""

from typing import Final

import msgspec

from node_agent.runtime import EXIT_UNKNOWN

# Shorter than this, a start counts as failed. As Docker has it for resetting its own backoff.
QUICK_S: Final = 10.0
QUICK_EXITS_MAX: Final = 5
_DELAY_BASE_S: Final = 0.5
_DELAY_LIMIT_S: Final = 10.0


class Exits(msgspec.Struct, frozen=True, kw_only=True):
    """How one allocation's container has ended so far.

    Attributes:
        count: all its ends.
        quick: the last so many ends all came within QUICK_S of their start.
        last_at: when it ended last, monotonic seconds.
        last_reason: how, a sentence.
    """

    count: int = 0
    quick: int = 0
    last_at: float = 0.0
    last_reason: str = ""


class StartAt(msgspec.Struct, frozen=True):
    """Start it again, not before `at` (monotonic seconds)."""

    at: float


class GiveUp(msgspec.Struct, frozen=True):
    """Do not start it again; `reason` is a sentence for people."""

    reason: str


def after_exit(exits: Exits, *, ran_s: float, now: float, reason: str) -> Exits:
    """Return the history with one more end, after `ran_s` seconds of running."""
    return Exits(
        count=exits.count + 1,
        quick=exits.quick + 1 if ran_s < QUICK_S else 0,
        last_at=now,
        last_reason=reason,
    )


def next_start(exits: Exits) -> StartAt | GiveUp:
    """Return what follows from a history: 0, 0.5, 1, 2, ... s of waiting, then giving up."""
    if exits.quick >= QUICK_EXITS_MAX:
        reason = f"ended {exits.quick} times in a row soon after its start"
        return GiveUp(f"{reason}; last: {exits.last_reason}")
    return StartAt(exits.last_at + delay_s(exits.quick))


def delay_s(quick: int) -> float:
    """Return how long to wait after so many quick ends in a row."""
    if quick <= 1:
        return 0.0
    return min(_DELAY_BASE_S * 2.0 ** min(quick - 2, QUICK_EXITS_MAX), _DELAY_LIMIT_S)


def describe_exit(exit_code: int | None, *, oom_killed: bool) -> str:
    """Return how a container ended, as a sentence."""
    if oom_killed:
        return "the kernel ended it: it needed more memory than its limit"
    if exit_code is None or exit_code == EXIT_UNKNOWN:
        return f"it ended while nobody watched, as in a reboot, or with code {EXIT_UNKNOWN}"
    if exit_code > _SIGNAL_BASE:
        return f"it was ended by signal {exit_code - _SIGNAL_BASE}"
    return f"it exited with code {exit_code}"


_SIGNAL_BASE: Final = 128
