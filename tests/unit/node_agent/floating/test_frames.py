"""What neighbours are told and asked: frames that say what they should, and nothing by chance."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.floating.frames import Told, announcements, question, told

MAC = bytes.fromhex("024846000001")


@pytest.mark.parametrize(("address", "count"), [("198.18.0.50", 2), ("fd00::50", 1)])
def test_an_announcement_says_who_answers(address: str, count: int) -> None:
    frames = announcements(address, MAC)
    assert [told(frame) for frame in frames] == [Told(address, "02:48:46:00:00:01")] * count


@pytest.mark.parametrize("address", ["198.18.0.50", "fd00::50"])
def test_a_question_tells_nobody_anything_of_the_address(address: str) -> None:
    said = told(question(address, MAC))
    assert said is None or said.address == "0.0.0.0"


@given(st.binary(max_size=200))
def test_what_is_no_such_frame_says_nothing_or_something_whole(data: bytes) -> None:
    said = told(data)
    assert said is None or (said.address and len(said.mac) == 17)
