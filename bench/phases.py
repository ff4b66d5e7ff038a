"""Where the time of a failover goes: the stretches between its moments.

Pure.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from bench.results import RunRecord
from bench.seen import Moments
from shared.model import Record

# In the order in which a failover goes; each ends with the moment of its own name.
_ENDS: Final = {
    "detect": "detected",
    "confirm": "confirmed",
    "decide, write": "decided",
    "watch, start": "started",
    "ready, report": "reported",
    "route": "routed",
    "gateway, answer": "answering",
}
PHASES: Final = tuple(_ENDS)


class Phase(Record, frozen=True, kw_only=True):
    """A stretch of time, in seconds since the fault."""

    name: str
    began_s: float
    seconds: float


def phases(moments: Moments) -> tuple[Phase, ...]:
    """Return the stretches one after the other, up to the answer.

    A moment that nobody saw belongs to the next one's stretch. One that came after the answer, or
    before the moment ahead of it, cost nothing: nobody waited for it.
    """
    told = msgspec.structs.asdict(moments)
    end_s = moments.answering
    found, now_s = [], 0.0
    for name, key in _ENDS.items():
        at_s = told[key]
        if at_s is None or at_s <= now_s or end_s is None or at_s > end_s:
            continue
        found.append(Phase(name=name, began_s=now_s, seconds=at_s - now_s))
        now_s = at_s
    return tuple(found)


def median_run(runs: Sequence[RunRecord]) -> RunRecord | None:
    """Return the run with the median answer, the faster one of two; None: none was answered."""
    there = [run for run in runs if run.moments.answering is not None]
    there.sort(key=lambda run: run.moments.answering or 0.0)
    return there[(len(there) - 1) // 2] if there else None
