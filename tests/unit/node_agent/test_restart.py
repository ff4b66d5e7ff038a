"""Restarting: at once for one that lived, ever slower for one that does not, then no more."""

from hypothesis import given
from hypothesis import strategies as st

from node_agent.restart import (
    QUICK_EXITS_MAX,
    Complete,
    End,
    Exits,
    GiveUp,
    StartAt,
    after_exit,
    delay_s,
    describe_exit,
    next_start,
    outcome,
)
from shared.model import RestartCondition, RestartPolicy

USUAL = RestartPolicy()
RUNS = st.lists(st.floats(0, 100), max_size=30)
POLICIES = st.builds(
    RestartPolicy,
    condition=st.sampled_from(RestartCondition),
    delay_s=st.none() | st.floats(0, 60),
    max_attempts=st.none() | st.integers(0, 9),
    window_s=st.floats(0, 100),
)


def end(ran_s: float = 0.0, at: float = 5.0, *, is_success: bool = False) -> End:
    return End(ran_s=ran_s, at=at, reason="it exited with code 3", is_success=is_success)


def test_one_that_lived_long_starts_at_once_however_often_it_ended() -> None:
    exits = after_exit(Exits(count=99, quick=4), end(USUAL.window_s), USUAL)
    assert next_start(exits, USUAL) == StartAt(5.0)


@given(RUNS)
def test_it_is_given_up_exactly_after_so_many_quick_ends_in_a_row(runs: list[float]) -> None:
    exits, row = Exits(), 0
    for now, ran_s in enumerate(runs):
        exits = after_exit(exits, end(ran_s, float(now)), USUAL)
        row = row + 1 if ran_s < USUAL.window_s else 0
        assert isinstance(next_start(exits, USUAL), GiveUp) == (row >= QUICK_EXITS_MAX)


@given(RUNS, st.integers(0, 9), st.floats(0.1, 100))
def test_a_limit_of_attempts_counts_starts_after_the_first_that_ended_within_the_window(
    runs: list[float], limit: int, window_s: float
) -> None:
    policy = RestartPolicy(max_attempts=limit, window_s=window_s)
    exits, row = Exits(), 0
    for ran_s in runs:
        exits = after_exit(exits, end(ran_s), policy)
        row = row + 1 if ran_s < window_s else 0
        assert isinstance(outcome(exits, end(ran_s), policy), GiveUp) == (row > limit)


@given(st.integers(0, 9))
def test_without_a_window_every_start_counts(limit: int) -> None:
    policy = RestartPolicy(max_attempts=limit, window_s=0.0)
    exits = Exits()
    for _ in range(limit + 1):
        assert isinstance(next_start(exits, policy), StartAt)
        exits = after_exit(exits, end(1e6), policy)
    assert next_start(exits, policy) == GiveUp(
        f"started again {limit} times, which is its restart policy's limit;"
        " last: it exited with code 3"
    )


@given(policy=POLICIES, quick=st.integers(0, 20), is_success=st.booleans())
def test_only_a_success_completes_and_only_where_the_policy_says_so(
    policy: RestartPolicy, quick: int, *, is_success: bool
) -> None:
    one = end(is_success=is_success)
    found = outcome(after_exit(Exits(count=quick, quick=quick), one, policy), one, policy)
    ends = policy.condition is not RestartCondition.ANY
    assert isinstance(found, Complete) == (is_success and ends)
    if policy.condition is RestartCondition.NONE:
        assert not isinstance(found, StartAt)


def test_one_that_is_never_started_again_says_why() -> None:
    policy = RestartPolicy(condition=RestartCondition.NONE)
    found = outcome(after_exit(Exits(), end(), policy), end(), policy)
    assert found == GiveUp("it exited with code 3; its restart policy is none")


@given(st.integers(0, 4), st.floats(0, 60))
def test_a_given_delay_is_the_delay_every_time(quick: int, pause_s: float) -> None:
    exits = after_exit(Exits(quick=quick), end(at=7.0), RestartPolicy(delay_s=pause_s))
    policy = RestartPolicy(delay_s=pause_s, max_attempts=99)
    assert next_start(exits, policy) == StartAt(7.0 + pause_s)


@given(st.integers(0, 10_000))
def test_a_delay_never_shrinks_and_has_a_limit(quick: int) -> None:
    assert delay_s(quick) <= delay_s(quick + 1) <= 10.0


def test_an_end_is_described_for_people() -> None:
    assert describe_exit(1, oom_killed=False) == "it exited with code 1"
    assert describe_exit(137, oom_killed=False) == "it was ended by signal 9"
    assert describe_exit(137, oom_killed=True) == (
        "the kernel ended it: it needed more memory than its limit"
    )
    assert describe_exit(None, oom_killed=False) == (
        "it ended while nobody watched, as in a reboot, or with code 255"
    )
