"""What a load run has seen so far: counts, latencies and silences of every target.

Pure. Times are seconds since the run began; latency counts from the moment a request was due, so a
generator or a service that falls behind cannot hide it.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Final

from shared.model import Record

# A request without an answer for so long counts as held: a healthy answer takes a few milliseconds.
HELD_AFTER_S: Final = 0.25
# Neighbouring buckets differ by 2 %: finer than anyone reads a percentile, 1100 buckets in all.
_GROWTH: Final = 1.02
_FLOOR_MS: Final = 0.001
# Whoever has more failures than this has a larger question than which connection each was on.
_FAILURES_KEPT_MAX: Final = 1000


class Outcome(Record, frozen=True, kw_only=True):
    """How one request ended.

    Attributes:
        due_s: when it was scheduled.
        ended_s: when its answer was complete, or when it was given up.
        status: the HTTP status; 0 when there was no answer.
        error: why there was no answer, a few constant words; empty when there was one.
        idempotent: it was a GET, which a gateway may send again; the others are POSTs.
        is_fresh: it opened a connection of its own, and closed it after.
        version: of what answered, by its own header; empty: it has none, or nothing answered.
        opened_s: when the connection was opened that it was sent on; None: it was sent on none.
    """

    target: str
    due_s: float
    ended_s: float
    status: int = 0
    error: str = ""
    idempotent: bool = True
    is_fresh: bool = False
    version: str = ""
    opened_s: float | None = None

    @property
    def latency_s(self) -> float:
        """Return how long it took since it was due."""
        return self.ended_s - self.due_s

    @property
    def failure(self) -> str:
        """Return what went wrong, the same words for the same cause; empty when nothing did."""
        if self.error:
            return self.error
        return "" if 200 <= self.status < 400 else f"status {self.status}"  # noqa: PLR2004 - HTTP's own classes


class Gap(Record, frozen=True, kw_only=True):
    """A stretch between two consecutive successes."""

    began_s: float
    ended_s: float

    @property
    def length_s(self) -> float:
        """Return how long it lasted."""
        return self.ended_s - self.began_s


class Latency(Record, frozen=True, kw_only=True):
    """Milliseconds from due to answered; zeros when nothing was answered."""

    p50: float
    p99: float
    max: float


class TargetReport(Record, frozen=True, kw_only=True):
    """One target so far. `window_*` covers only what ended since the report before.

    Attributes:
        held: requests in flight that have waited longer than HELD_AFTER_S.
        latency_ms: of answered and failed requests alike: a time-out is a long wait too.
        longest_gap, window_gap: the longest stretch without a success that has ended; None: no
            success followed another yet.
        errors: how many requests failed, by cause.
        failures_opened_s: when the connection of each failed request was opened that was sent on
            one, of the first thousand.
    """

    name: str
    sent: int
    ok: int
    failed: int
    in_flight: int
    held: int
    latency_ms: Latency
    window_ms: Latency
    first_success_s: float | None
    last_success_s: float | None
    last_failure_s: float | None
    longest_gap: Gap | None
    window_gap: Gap | None
    errors: Mapping[str, int]
    failures_opened_s: tuple[float, ...] = ()


class LoadReport(Record, frozen=True, kw_only=True):
    """A line of the load generator's output.

    Attributes:
        began_at_s: wall clock at second 0, so that a reader can line the run up with other events.
        at_s: when this report was made.
        final: nothing is in flight any more and no report follows.
        lag_ms_max: how late the generator itself sent a request at worst; large: a busy machine.
    """

    began_at_s: float
    at_s: float
    final: bool
    lag_ms_max: float
    targets: tuple[TargetReport, ...]


class Histogram:
    """Latencies in buckets: memory does not grow, a quantile is at most 2 % too large."""

    def __init__(self) -> None:
        self._buckets: dict[int, int] = {}
        self._count = 0
        self._max_ms = 0.0

    def add(self, latency_ms: float) -> None:
        """Count one latency."""
        steps = math.ceil(math.log(max(latency_ms, _FLOOR_MS) / _FLOOR_MS, _GROWTH))
        self._buckets[steps] = self._buckets.get(steps, 0) + 1
        self._count += 1
        self._max_ms = max(self._max_ms, latency_ms)

    def quantile_ms(self, share: float) -> float:
        """Return the latency that `share` (0..1) of all requests did not exceed; 0: no request."""
        seen, wanted = 0, share * self._count
        for steps in sorted(self._buckets):
            seen += self._buckets[steps]
            if seen >= wanted:
                return min(_FLOOR_MS * _GROWTH**steps, self._max_ms)
        return self._max_ms

    def latency(self) -> Latency:
        """Return the figures people ask for."""
        return Latency(
            p50=round(self.quantile_ms(0.5), 3),
            p99=round(self.quantile_ms(0.99), 3),
            max=round(self._max_ms, 3),
        )


class _Target:
    """What is known of one target; `Tally` keeps one for each."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.waiting: dict[int, float] = {}
        self.sent = self.ok = 0
        self.errors: dict[str, int] = {}
        self.all, self.window = Histogram(), Histogram()
        self.first_s: float | None = None
        self.last_s: float | None = None
        self.last_failure_s: float | None = None
        self.longest: Gap | None = None
        self.window_gap: Gap | None = None
        self.failures_opened_s: list[float] = []

    def finish(self, number: int, outcome: Outcome) -> None:
        del self.waiting[number]
        latency_ms = (outcome.ended_s - outcome.due_s) * 1000
        self.all.add(latency_ms)
        self.window.add(latency_ms)
        if outcome.failure:
            self.errors[outcome.failure] = self.errors.get(outcome.failure, 0) + 1
            self.last_failure_s = outcome.ended_s
            if outcome.opened_s is not None and len(self.failures_opened_s) < _FAILURES_KEPT_MAX:
                self.failures_opened_s.append(round(outcome.opened_s, 3))
            return
        self.ok += 1
        if self.last_s is not None:
            gap = Gap(began_s=self.last_s, ended_s=outcome.ended_s)
            self.longest = longer(self.longest, gap)
            self.window_gap = longer(self.window_gap, gap)
        self.first_s = outcome.ended_s if self.first_s is None else self.first_s
        self.last_s = outcome.ended_s

    def report(self, now_s: float) -> TargetReport:
        report = TargetReport(
            name=self.name,
            sent=self.sent,
            ok=self.ok,
            failed=sum(self.errors.values()),
            in_flight=len(self.waiting),
            held=sum(now_s - due_s > HELD_AFTER_S for due_s in self.waiting.values()),
            latency_ms=self.all.latency(),
            window_ms=self.window.latency(),
            first_success_s=self.first_s,
            last_success_s=self.last_s,
            last_failure_s=self.last_failure_s,
            longest_gap=self.longest,
            window_gap=self.window_gap,
            errors=dict(sorted(self.errors.items())),
            failures_opened_s=tuple(self.failures_opened_s),
        )
        self.window, self.window_gap = Histogram(), None
        return report


class Tally:
    """Counts requests as they are sent and end. Every request that was sent ends exactly once."""

    def __init__(self, targets: Iterable[str], *, began_at_s: float) -> None:
        self._targets = {name: _Target(name) for name in targets}
        self._began_at_s = began_at_s
        self._lag_ms_max = 0.0

    @property
    def in_flight(self) -> int:
        """Return how many requests were sent and have not ended."""
        return sum(len(target.waiting) for target in self._targets.values())

    def sent(self, number: int, target: str, *, due_s: float, now_s: float) -> None:
        """Count a request as sent; `number` names it until it ends."""
        seen = self._targets[target]
        assert number not in seen.waiting, f"request {number} was sent twice"
        seen.waiting[number] = due_s
        seen.sent += 1
        self._lag_ms_max = max(self._lag_ms_max, (now_s - due_s) * 1000)

    def ended(self, number: int, outcome: Outcome) -> None:
        """Count a sent request's end; successes must be told in the order of `ended_s`."""
        self._targets[outcome.target].finish(number, outcome)

    def report(self, now_s: float, *, final: bool) -> LoadReport:
        """Return everything so far and begin the next window."""
        return LoadReport(
            began_at_s=self._began_at_s,
            at_s=round(now_s, 6),
            final=final,
            lag_ms_max=round(self._lag_ms_max, 3),
            targets=tuple(target.report(now_s) for target in self._targets.values()),
        )


def longer(one: Gap | None, other: Gap | None) -> Gap | None:
    """Return the longer gap, the earlier one when both are equal."""
    if one is None or other is None:
        return one or other
    return other if other.length_s > one.length_s else one
