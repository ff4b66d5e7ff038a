"""The load generator's accounting: what it counts, by properties."""

import bisect
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.lab.tally import HELD_AFTER_S, Gap, Histogram, LoadReport, Outcome, Tally, longer

latencies_ms = st.lists(st.floats(0.001, 60_000), min_size=1, max_size=200)


@st.composite
def outcomes(draw: st.DrawFn) -> list[Outcome]:
    """Return outcomes of one target in the order in which they ended."""
    ends = sorted(draw(st.lists(st.floats(0, 100), max_size=40)))
    return [
        Outcome(
            target="web",
            due_s=end_s * draw(st.floats(0, 1)),
            ended_s=end_s,
            status=draw(st.sampled_from([200, 204, 301, 404, 503, 0])),
            error="",
        )
        for end_s in ends
    ]


def told(story: list[Outcome], *, now_s: float = 100.0) -> LoadReport:
    tally = Tally(["web"], began_at_s=0.0)
    for number, outcome in enumerate(story):
        tally.sent(number, "web", due_s=outcome.due_s, now_s=outcome.due_s)
    for number, outcome in enumerate(story):
        tally.ended(number, outcome)
    return tally.report(now_s, final=True)


@given(latencies_ms, st.floats(0.01, 1))
def test_a_quantile_is_at_most_two_percent_too_large_and_never_too_small(
    samples: list[float], share: float
) -> None:
    histogram = Histogram()
    for sample in samples:
        histogram.add(sample)
    ordered = sorted(samples)
    rank = next(i for i in range(len(ordered)) if i + 1 >= share * len(ordered))

    found = histogram.quantile_ms(share)

    assert ordered[rank] * 0.999_999 <= found <= ordered[rank] * 1.020_001


@given(outcomes())
def test_every_request_is_counted_once_as_answered_or_failed(story: list[Outcome]) -> None:
    target = told(story).targets[0]

    assert target.sent == len(story) == target.ok + target.failed
    assert target.failed == sum(target.errors.values())
    assert target.failed == sum(outcome.failure != "" for outcome in story)
    assert target.in_flight == 0


@given(outcomes())
def test_the_longest_gap_is_the_longest_between_neighbouring_successes(
    story: list[Outcome],
) -> None:
    successes = [outcome.ended_s for outcome in story if not outcome.failure]
    lengths = [after - before for before, after in itertools.pairwise(successes)]

    gap = told(story).targets[0].longest_gap

    assert (gap.length_s if gap else None) == max(lengths, default=None)
    assert gap is None or bisect.bisect(successes, (gap.began_s + gap.ended_s) / 2) >= 1


@given(st.lists(outcomes(), min_size=2, max_size=4))
def test_gaps_of_the_windows_add_up_to_the_longest_gap(parts: list[list[Outcome]]) -> None:
    story = sorted((o for part in parts for o in part), key=lambda o: o.ended_s)
    cuts = [len(part) for part in parts]
    tally = Tally(["web"], began_at_s=0.0)
    for number, outcome in enumerate(story):
        tally.sent(number, "web", due_s=outcome.due_s, now_s=outcome.due_s)
    reports, done = [], 0
    for cut in cuts:
        for number in range(done, done + cut):
            tally.ended(number, story[number])
        done += cut
        reports.append(tally.report(100.0, final=False).targets[0])
    widest: Gap | None = None
    for report in reports:
        widest = longer(widest, report.window_gap)

    assert widest == reports[-1].longest_gap


@pytest.mark.parametrize(
    ("status", "failure"),
    [(200, ""), (204, ""), (301, ""), (404, "status 404"), (503, "status 503"), (0, "status 0")],
)
def test_an_answer_is_a_success_or_a_failure_by_its_status(status: int, failure: str) -> None:
    assert Outcome(target="web", due_s=0, ended_s=1, status=status).failure == failure


def test_a_window_begins_with_the_report_before() -> None:
    tally = Tally(["web"], began_at_s=0.0)
    windows = []
    for number, ended_s in enumerate([1.0, 3.0, 4.0]):
        due_s = ended_s - 0.25 / (number + 1)
        tally.sent(number, "web", due_s=due_s, now_s=ended_s)
        tally.ended(number, Outcome(target="web", due_s=due_s, ended_s=ended_s, status=200))
        report = tally.report(ended_s, final=False).targets[0]
        windows.append((report.window_ms.max, report.window_gap))

    assert windows == [
        (250.0, None),
        (125.0, Gap(began_s=1.0, ended_s=3.0)),
        (83.333, Gap(began_s=3.0, ended_s=4.0)),
    ]


def test_a_request_that_waits_long_is_held_and_its_latency_counts_from_when_it_was_due() -> None:
    tally = Tally(["web"], began_at_s=0.0)
    tally.sent(0, "web", due_s=1.0, now_s=1.1)
    waiting = tally.report(1.0 + HELD_AFTER_S + 0.01, final=False)
    tally.ended(0, Outcome(target="web", due_s=1.0, ended_s=3.0, status=200))
    answered = tally.report(3.0, final=True)

    assert (waiting.targets[0].held, waiting.targets[0].in_flight) == (1, 1)
    assert (answered.targets[0].held, answered.targets[0].latency_ms.max) == (0, 2000.0)
    assert answered.lag_ms_max == 100.0
