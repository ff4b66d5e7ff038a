"""Restarting: at once for one that lived, ever slower for one that does not, then no more."""

from hypothesis import given
from hypothesis import strategies as st

from node_agent.restart import (
    QUICK_EXITS_MAX,
    QUICK_S,
    Exits,
    GiveUp,
    StartAt,
    after_exit,
    delay_s,
    describe_exit,
    next_start,
)


def test_one_that_lived_long_starts_at_once_however_often_it_ended() -> None:
    exits = Exits(count=99, quick=4)
    exits = after_exit(exits, ran_s=QUICK_S, now=5.0, reason="it exited with code 0")
    assert next_start(exits) == StartAt(5.0)


@given(st.lists(st.floats(0, 100), max_size=30))
def test_it_is_given_up_exactly_after_so_many_quick_ends_in_a_row(runs: list[float]) -> None:
    exits, row = Exits(), 0
    for now, ran_s in enumerate(runs):
        exits = after_exit(exits, ran_s=ran_s, now=float(now), reason="x")
        row = row + 1 if ran_s < QUICK_S else 0
        assert isinstance(next_start(exits), GiveUp) == (row >= QUICK_EXITS_MAX)


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
