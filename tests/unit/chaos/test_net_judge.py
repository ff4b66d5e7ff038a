"""How chaos judges: a failure needs a thing that carries the request and is missing just then."""

import msgspec
import pytest

from deploy.lab.tally import Outcome
from tests.chaos.net_judge import (
    AFTER_S,
    LIMIT_S,
    Deleted,
    Failed,
    Verdict,
    failures,
    judge,
    table,
)
from tests.chaos.net_things import INSIDE, OUTSIDE


def deleted(at_s: float, back_after_s: float | None = 2.0, *carries: str) -> Deleted:
    return Deleted(
        kind="route",
        what="the route",
        node="node-1",
        at_s=at_s,
        back_after_s=back_after_s,
        carries=carries,
    )


def failed(due_s: float, ended_s: float, path: str = OUTSIDE) -> Failed:
    return Failed(path=path, target="port", due_s=due_s, ended_s=ended_s, failure="reset")


@pytest.mark.parametrize(
    ("due_s", "ended_s", "explained_count"),
    [
        (99.0, 99.9, 0),
        (99.0, 100.0, 1),
        (101.0, 101.1, 1),
        (102.0 + AFTER_S, 109.0, 1),
        (102.1 + AFTER_S, 109.0, 0),
        (90.0, 120.0, 1),
    ],
)
def test_a_request_may_fail_that_was_under_way_while_the_thing_was_missing(
    due_s: float, ended_s: float, explained_count: int
) -> None:
    explained, strange = judge([deleted(100.0, 2.0, OUTSIDE)], [failed(due_s, ended_s)])

    assert [each.failed.get(OUTSIDE, 0) for each in explained] == [explained_count]
    assert len(strange) == 1 - explained_count


@pytest.mark.parametrize(("due_s", "explained_count"), [(103.0, 1), (103.1, 0)])
def test_what_came_back_during_a_look_is_missing_until_its_end(
    due_s: float, explained_count: int
) -> None:
    slowly = msgspec.structs.replace(deleted(100.0, 2.0, OUTSIDE), look_s=1.0)

    explained, _ = judge([slowly], [failed(due_s + AFTER_S, 109.0)])

    assert explained[0].failed.get(OUTSIDE, 0) == explained_count


def test_a_request_that_the_thing_does_not_carry_may_not_fail() -> None:
    explained, (strange,) = judge([deleted(100.0, 2.0, INSIDE)], [failed(101.0, 101.1)])

    assert explained[0].failed == {}
    assert strange.line() == "outside port: reset after 0.10 s, during: node-1: the route"


def test_what_is_not_back_explains_failures_up_to_the_limit() -> None:
    lost = deleted(100.0, None, OUTSIDE)
    after_s = 100.0 + LIMIT_S + AFTER_S + 0.1

    explained, strange = judge([lost], [failed(109.0, 109.1), failed(after_s, after_s)])

    assert explained[0].failed == {OUTSIDE: 1}
    assert len(strange) == 1


def test_each_failure_counts_once() -> None:
    two = [deleted(100.0, 2.0, OUTSIDE), deleted(105.0, 2.0, OUTSIDE, INSIDE)]

    explained, strange = judge(two, [failed(90.0, 120.0), failed(105.0, 106.0, INSIDE)])

    assert ([each.failed for each in explained], strange) == ([{OUTSIDE: 1}, {INSIDE: 1}], ())


def test_failures_are_put_on_the_wall_clock() -> None:
    outcomes = [
        Outcome(target="port", due_s=1.0, ended_s=2.0, status=200),
        Outcome(target="port", due_s=3.0, ended_s=4.0, status=503),
    ]

    (found,) = failures(OUTSIDE, outcomes, 100.0)

    assert found == Failed(
        path=OUTSIDE, target="port", due_s=103.0, ended_s=104.0, failure="status 503"
    )


def test_a_verdict_says_what_is_wrong() -> None:
    verdict = Verdict(
        seed=1,
        nodes=3,
        requests={OUTSIDE: 10, INSIDE: 0},
        deleted=(deleted(100.0), deleted(110.0, None)),
        unexplained=(failed(1.0, 2.0),),
    )

    assert not verdict.is_good
    assert [line.split(":")[0] for line in verdict.bad()] == [
        "node-1",
        "outside port",
        "no request inside",
    ]
    assert table(verdict)[1].split() == ["route", "2", "2.00", "s", "NEVER", "-"]


def test_a_good_verdict_needs_requests_and_everything_back() -> None:
    good = Verdict(
        seed=1,
        nodes=3,
        requests={OUTSIDE: 10, INSIDE: 5},
        deleted=(deleted(100.0),),
        unexplained=(),
    )

    assert (good.is_good, good.bad()) == (True, [])
