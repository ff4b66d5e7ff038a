"""`x-hafen` of a service: what Compose has no word for.

Pure.
"""

import datetime as dt
import re
import zoneinfo
from typing import Final

import msgspec
from cronsim import CronSim, CronSimError

from deploy.compose.fields import (
    Cursor,
    Field,
    Table,
    amount,
    one_of,
    record,
    sound_record,
    text,
    truth,
    whole,
)
from deploy.compose.routes import TRAFFIC, Located
from deploy.compose.tree import Mapping, quoted
from deploy.compose.units import duration_s
from shared.limits import REPLICAS_MAX, STANDBY_MAX
from shared.model import Affinity, Overlap, Schedule, Traffic

CRON_CHARS_MAX: Final = 200

_FIELDS: Final = 5  # minute, hour, day, month, weekday; cronsim would take seconds, too
_NEVER: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
_A_ZONE: Final = "a time zone such as Europe/Berlin"
_ZONE: Final = re.compile(r"[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*")


class Pace(msgspec.Struct, frozen=True):
    """`update`; None: hafen's own."""

    progress_deadline_s: float | None = None
    canary: int = 0
    auto_promote_s: float | None = None


class Job(msgspec.Struct, frozen=True):
    """`job`."""

    max_concurrent: int = 0


class Own(msgspec.Struct, frozen=True):
    """`x-hafen`."""

    standby: int = 0
    exclusive: bool = False
    update: Pace = Pace()
    job: Job | None = None
    schedule: Schedule | None = None
    routes: tuple[Located, ...] = ()
    traffic: Traffic = Traffic()
    affinity: Affinity = Affinity.NONE


class _Cron(msgspec.Struct, frozen=True):
    schedule: str = ""
    timezone: str = "UTC"
    overlap: Overlap = Overlap.SKIP


def own(at: Cursor) -> Own:
    """Return what `x-hafen` says."""
    return Own() if at.is_null() else record(at, Own(), OWN)


def _cron(at: Cursor) -> Schedule:
    if isinstance(at.node, Mapping):
        found = sound_record(at, _Cron(), CRON)
        if not found.schedule:
            raise at.refuse('schedule is missing: five fields such as "0 3 * * *"')
    else:
        found = _Cron(_five_fields(at))
    return Schedule(cron=found.schedule, timezone=found.timezone, overlap=found.overlap)


def _five_fields(at: Cursor) -> str:
    line = " ".join(text(at).split())
    if len(line) > CRON_CHARS_MAX or len(line.split(" ")) != _FIELDS:
        raise at.refuse('expected minute, hour, day, month and weekday, as in "0 3 * * *"')
    try:
        # It is asked for no moment: the one it begins with has no meaning.
        CronSim(line, _NEVER)
    except CronSimError as error:
        raise at.refuse(f"{quoted(line)} is no schedule: {str(error).lower()}") from error
    return line


def _zone(at: Cursor) -> str:
    name = text(at)
    if not _ZONE.fullmatch(name):
        raise at.expected(_A_ZONE)
    try:
        zoneinfo.ZoneInfo(name)
    except (ValueError, OSError, zoneinfo.ZoneInfoNotFoundError) as error:
        raise at.expected(_A_ZONE) from error
    return name


def _deadline(at: Cursor) -> float:
    seconds = amount(at, duration_s)
    if seconds <= 0:
        raise at.expected("more than 0s")
    return seconds


def _affinity(at: Cursor) -> Affinity:
    word = text(at)
    if word.lower() in {"clientip", "client_ip", "client-ip", "ip", "source"}:
        raise at.refuse(f"{quoted(word)}: hafen's word for it is address")
    if word.lower() == "sticky":
        raise at.refuse(f"{quoted(word)}: write address or cookie")
    return Affinity(one_of(at, *Affinity))


CRON: Final[Table] = {
    "schedule": Field("schedule", _five_fields),
    "timezone": Field("timezone", _zone),
    "overlap": Field("overlap", lambda at: Overlap(one_of(at, *Overlap))),
}
PACE: Final[Table] = {
    "progress_deadline": Field("progress_deadline_s", _deadline),
    "canary": Field("canary", lambda at: whole(at, 0, REPLICAS_MAX)),
    "auto_promote": Field("auto_promote_s", lambda at: amount(at, duration_s)),
}
JOB: Final[Table] = {
    "max_concurrent": Field("max_concurrent", lambda at: whole(at, 0, REPLICAS_MAX)),
}
OWN: Final[Table] = {
    "standby": Field("standby", lambda at: whole(at, 0, STANDBY_MAX)),
    "exclusive": Field("exclusive", truth),
    "update": Field("update", lambda at: sound_record(at, Pace(), PACE)),
    "job": Field("job", lambda at: sound_record(at, Job(), JOB)),
    "cron": Field("schedule", _cron),
    **TRAFFIC,
    "affinity": Field("affinity", _affinity),
}
