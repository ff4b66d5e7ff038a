"""`healthcheck` of a service.

Pure.
"""

from typing import Final

import msgspec

from deploy.compose.fields import (
    Cursor,
    Field,
    Table,
    amount,
    each,
    sound_record,
    text,
    truth,
    whole,
)
from deploy.compose.tree import Sequence
from deploy.compose.units import duration_s
from shared.model import HealthCheck

RETRIES_MAX: Final = 1_000


class Check(msgspec.Struct, frozen=True):
    """`healthcheck`, with Docker's defaults; `test` is None when missing, () when it says NONE."""

    test: tuple[str, ...] | None = None
    disable: bool = False
    interval_s: float = 30.0
    timeout_s: float = 30.0
    retries: int = 3
    start_period_s: float = 0.0
    start_interval_s: float = 5.0


def _test(at: Cursor) -> tuple[str, ...] | None:
    if not isinstance(at.node, Sequence):
        return ("/bin/sh", "-c", text(at))
    words = each(at.items(), text)
    match words:
        case ():
            return None
        case ("NONE",):
            return ()
        case ("CMD", _, *_):
            return words[1:]
        case ("CMD-SHELL", line):
            return ("/bin/sh", "-c", line)
        case _:
            raise at.refuse(
                'expected ["CMD", program, argument ...], ["CMD-SHELL", line] or ["NONE"]'
            )


def period(at: Cursor) -> float:
    """Return seconds."""
    return amount(at, duration_s)


def _interval(at: Cursor) -> float:
    seconds = period(at)
    if seconds <= 0:
        raise at.expected("more than 0s")
    return seconds


def healthcheck(at: Cursor) -> HealthCheck | None:
    """Return the health check; None: there is none."""
    check = sound_record(at, Check(), CHECK)
    if check.disable and check.test:
        raise at.refuse("disable and test contradict each other; keep one")
    if check.disable or check.test == ():
        return None
    if check.test is None:
        raise at.refuse("test is missing; hafen does not read the image's own health check yet")
    return HealthCheck(
        test=check.test,
        interval_s=check.interval_s,
        timeout_s=check.timeout_s,
        retries=check.retries,
        start_period_s=check.start_period_s,
        start_interval_s=check.start_interval_s,
    )


CHECK: Final[Table] = {
    "test": Field("test", _test),
    "disable": Field("disable", truth),
    "interval": Field("interval_s", _interval),
    "timeout": Field("timeout_s", _interval),
    "retries": Field("retries", lambda at: whole(at, 1, RETRIES_MAX)),
    "start_period": Field("start_period_s", period),
    "start_interval": Field("start_interval_s", _interval),
}
