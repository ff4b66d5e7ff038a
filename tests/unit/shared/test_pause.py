"""A pause ends when it should, sooner or later only if it is told so while it lasts."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from shared.clock import Clock
from shared.pause import Pause
from tests.virtual import on_virtual_time

SECONDS = st.floats(0.001, 10.0)


@given(SECONDS, st.floats(0.0, 0.99), SECONDS)
def test_a_pause_that_is_lengthened_ends_so_long_after_that(
    first_s: float, part: float, then_s: float
) -> None:
    async def main(clock: Clock) -> float:
        pause = Pause()
        asyncio.get_running_loop().call_later(part * first_s, pause.lengthen, then_s)
        await pause.last(first_s)
        return clock.monotonic_s()

    assert abs(on_virtual_time(main) - (part * first_s + then_s)) < 1e-6


@given(SECONDS, SECONDS)
def test_a_pause_is_used_again_and_lengthening_none_does_nothing(a_s: float, b_s: float) -> None:
    async def main(clock: Clock) -> float:
        pause = Pause()
        pause.lengthen(1000.0)
        await pause.last(a_s)
        pause.lengthen(1000.0)
        await pause.last(b_s)
        return clock.monotonic_s()

    assert abs(on_virtual_time(main) - (a_s + b_s)) < 1e-6


@given(SECONDS, st.floats(0.0, 0.99))
def test_a_pause_that_is_ended_is_over_at_once_and_ending_none_does_nothing(
    seconds: float, part: float
) -> None:
    async def main(clock: Clock) -> float:
        pause = Pause()
        pause.end()
        asyncio.get_running_loop().call_later(part * seconds, pause.end)
        await pause.last(seconds)
        return clock.monotonic_s()

    assert abs(on_virtual_time(main) - part * seconds) < 1e-6
