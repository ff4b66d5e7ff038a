"""What an etcd member's /metrics say of its disk and its elections.

Pure. The text format of Prometheus: `name{labels} value`, a histogram as one count per bound.
"""

import math
import re
from collections.abc import Iterator
from typing import Final

import msgspec

_SHARE: Final = 0.99
_FSYNC: Final = "etcd_disk_wal_fsync_duration_seconds_bucket"
_COMMIT: Final = "etcd_disk_backend_commit_duration_seconds_bucket"
_CHANGES: Final = "etcd_server_leader_changes_seen_total"
_STARTED: Final = "process_start_time_seconds"
_LINE: Final = re.compile(r"([a-z_]+)(?:\{le=\"([^\"]+)\"\})? ([-+.0-9a-zA-Z]+)")


class Measures(msgspec.Struct, frozen=True, kw_only=True):
    """One member since its start. None: it does not say.

    Attributes:
        fsync_s: of a hundred writes of its log to disk, 99 took no longer.
        commit_s: the same of the writes of its data.
        leader_changes: it has seen.
        started_s: wall clock.
    """

    fsync_s: float | None = None
    commit_s: float | None = None
    leader_changes: int = 0
    started_s: float | None = None


def measures(text: str) -> Measures:
    """Return what a member says; what cannot be read is left out."""
    found = list(_values(text))
    single = {name: value for name, bound, value in found if bound is None}
    return Measures(
        fsync_s=_most([(bound, n) for name, bound, n in found if name == _FSYNC and bound]),
        commit_s=_most([(bound, n) for name, bound, n in found if name == _COMMIT and bound]),
        leader_changes=int(single.get(_CHANGES, 0.0)),
        started_s=single.get(_STARTED),
    )


def _values(text: str) -> Iterator[tuple[str, float | None, float]]:
    wanted = {_FSYNC, _COMMIT, _CHANGES, _STARTED}
    for line in text.splitlines():
        match = _LINE.fullmatch(line)
        if match is None or match[1] not in wanted:
            continue
        bound, value = _number(match[2] or ""), _number(match[3])
        if value is not None and math.isfinite(value):
            yield match[1], bound, value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _most(counts: list[tuple[float, float]]) -> float | None:
    """Return the smallest bound that nearly all lie within; counts add up from bound to bound."""
    total = max((count for _, count in counts), default=0.0)
    if total <= 0:
        return None
    # What took longer than every bound took at least as long as the largest.
    finite = [(bound, count) for bound, count in counts if math.isfinite(bound)]
    largest = max((bound for bound, _ in finite), default=None)
    return min((bound for bound, count in finite if count >= total * _SHARE), default=largest)
