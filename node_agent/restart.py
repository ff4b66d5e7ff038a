"""Whether a container that ended is started again, and when, or given up.

Pure. Unless the service says otherwise, a container that lived long enough starts again at once.
One that keeps ending quickly waits longer each time and is then given up: the leader tries the slot
on another node.
"""

from typing import Final

import msgspec

from node_agent.runtime import EXIT_UNKNOWN
from shared.model import RestartCondition, RestartPolicy

QUICK_EXITS_MAX: Final = 5
_DELAY_BASE_S: Final = 0.5
_DELAY_LIMIT_S: Final = 10.0


class Exits(msgspec.Struct, frozen=True, kw_only=True):
    """How one allocation's container has ended so far.

    Attributes:
        count: all its ends.
        quick: the last so many ends all came within the policy's window of their start.
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


class Complete(msgspec.Struct, frozen=True):
    """Do not start it again: it has done what it was for."""


class End(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a container.

    Attributes:
        ran_s: how long it had run.
        at: when it ended, monotonic seconds.
        reason: how, a sentence.
        is_success: by itself, with code 0.
    """

    ran_s: float
    at: float
    reason: str
    is_success: bool = False


def after_exit(exits: Exits, end: End, policy: RestartPolicy) -> Exits:
    """Return the history with one more end."""
    is_quick = end.ran_s < policy.window_s or not policy.window_s
    return Exits(
        count=exits.count + 1,
        quick=exits.quick + 1 if is_quick else 0,
        last_at=end.at,
        last_reason=end.reason,
    )


def outcome(exits: Exits, end: End, policy: RestartPolicy) -> StartAt | GiveUp | Complete:
    """Return what follows from an end that is the last one of `exits`."""
    if policy.condition is RestartCondition.ANY:
        return next_start(exits, policy)
    if end.is_success:
        return Complete()
    if policy.condition is RestartCondition.NONE:
        return GiveUp(f"{end.reason}; its restart policy is {policy.condition}")
    return next_start(exits, policy)


def next_start(exits: Exits, policy: RestartPolicy) -> StartAt | GiveUp:
    """Return when it is started again, or that the policy has no start left."""
    if policy.max_attempts is not None and exits.quick > policy.max_attempts:
        starts = f"started again {policy.max_attempts} times, which is its restart policy's limit"
        return GiveUp(f"{starts}; last: {exits.last_reason}")
    if policy.max_attempts is None and exits.quick >= QUICK_EXITS_MAX:
        reason = f"ended {exits.quick} times in a row soon after its start"
        return GiveUp(f"{reason}; last: {exits.last_reason}")
    pause_s = delay_s(exits.quick) if policy.delay_s is None else policy.delay_s
    return StartAt(exits.last_at + pause_s)


def delay_s(quick: int) -> float:
    """Return how long to wait after so many quick ends in a row: 0, 0.5, 1, 2, ... s."""
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
