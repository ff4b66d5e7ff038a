"""When a scheduled job is due: the last moment before now and the next one after it.

Pure. Moments are seconds of the wall clock; what they are on people's clocks, the time zone says.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import msgspec
from cronsim import CronSim, CronSimError

from shared.model import Schedule

# Schedules of one minute: each is computed once for the minutes around now.
_KNOWN_MAX: Final = 1024
_MINUTE_S: Final = 60


class Due(msgspec.Struct, frozen=True):
    """The moments around now; None: there is none."""

    last_s: float | None
    next_s: float | None


def due(schedule: Schedule, now_s: float) -> Due:
    """Return when the job was due last, at `now_s` or before, and when it will be next."""
    minute = int(now_s) // _MINUTE_S
    return _around(schedule.cron, schedule.timezone, minute)


@lru_cache(maxsize=_KNOWN_MAX)
def _around(cron: str, timezone: str, minute: int) -> Due:
    """Return the moments around a minute: a schedule has no finer grain."""
    now = datetime.fromtimestamp(minute * _MINUTE_S, UTC).astimezone(ZoneInfo(timezone))
    return Due(_last(cron, now), _next(cron, now))


def _last(cron: str, now: datetime) -> float | None:
    # It looks for moments strictly before: the minute itself counts.
    return _first(CronSim(cron, now + timedelta(seconds=1), reverse=True))


def _next(cron: str, now: datetime) -> float | None:
    return _first(CronSim(cron, now))


def _first(moments: CronSim) -> float | None:
    try:
        return next(moments).timestamp()
    except StopIteration:
        return None


def problem(schedule: Schedule) -> str:
    """Return why a schedule cannot be followed; empty: it can."""
    try:
        CronSim(schedule.cron, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        return f"{schedule.cron!r} is no schedule of five cron fields: {error}"
    try:
        ZoneInfo(schedule.timezone)
    except (ValueError, OSError, KeyError):
        return f"there is no time zone {schedule.timezone!r}; write one such as Europe/Berlin"
    return ""
