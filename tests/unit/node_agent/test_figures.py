"""A node's figures, also when a part of it does not answer."""

import pytest

from node_agent.figures import Figures, together
from shared.errors import UnavailableError


def saying(text: str) -> Figures:
    async def figures() -> str:
        return text

    return figures


def silent(why: str) -> Figures:
    async def figures() -> str:
        raise UnavailableError(why)

    return figures


async def test_a_part_that_does_not_answer_hides_no_other() -> None:
    assert await together(saying("a 1\n"), silent("b is away"), saying("c 3\n"))() == "a 1\nc 3\n"


async def test_where_nothing_answers_that_is_said() -> None:
    with pytest.raises(UnavailableError, match="b is away; c is away"):
        await together(silent("b is away"), silent("c is away"))()
