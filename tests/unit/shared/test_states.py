"""The life of an allocation: every state has a row, and nothing moves backwards."""

import itertools

import pytest

from shared.errors import InvalidTransitionError
from shared.states import TERMINAL, TRANSITIONS, AllocState, advance

ORDER = list(AllocState)
PAIRS = list(itertools.product(AllocState, repeat=2))


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(AllocState)


def test_no_edge_leads_backwards() -> None:
    edges = [(start, end) for start, ends in TRANSITIONS.items() for end in ends]

    assert [(a, b) for a, b in edges if ORDER.index(a) >= ORDER.index(b)] == []


def test_whoever_is_done_has_completed_failed_or_was_lost() -> None:
    assert set(TERMINAL) == {AllocState.COMPLETE, AllocState.FAILED, AllocState.LOST}


def test_every_life_can_end_and_can_be_given_up() -> None:
    assert all(
        AllocState.LOST in ends for state, ends in TRANSITIONS.items() if state not in TERMINAL
    )


@pytest.mark.parametrize(("current", "target"), PAIRS)
def test_an_allocation_advances_along_the_table_only(
    current: AllocState, target: AllocState
) -> None:
    if target == current or target in TRANSITIONS[current]:
        assert advance(current, target) is target
    else:
        with pytest.raises(InvalidTransitionError, match=f"{current} cannot become {target}"):
            advance(current, target)
