"""The reconcile loop on virtual time: one pass at a time, woken by marks or the period."""

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from errno import ENOSPC

import pytest

from shared.clock import Clock
from shared.errors import AmbiguousError, ConflictError, DeniedError, UnavailableError
from shared.loop import Dirty, reconcile_forever
from tests.virtual import on_virtual_time

PERIOD_S = 30.0


class Passes:
    """Passes that note when they ran; each may end in an error."""

    def __init__(self, clock: Clock, ends: Sequence[Exception | float] = ()) -> None:
        self.at_s: list[float] = []
        self.running = 0
        self._clock, self._ends = clock, list(ends)
        self.busy_s = 0.0

    async def one(self) -> float:
        self.at_s.append(self._clock.monotonic_s())
        self.running += 1
        assert self.running == 1
        await self._clock.sleep(self.busy_s)
        self.running -= 1
        end = self._ends.pop(0) if self._ends else PERIOD_S
        if isinstance(end, Exception):
            raise end
        return end


async def run_for(
    seconds: float, passes: Callable[[], Awaitable[float]], dirty: Dirty, clock: Clock
) -> None:
    rng = random.Random(1)  # noqa: S311 - jitter
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await reconcile_forever(passes, dirty, clock, rng)


def test_it_runs_again_when_the_period_that_a_pass_asked_for_is_over() -> None:
    async def main(clock: Clock) -> list[float]:
        passes = Passes(clock, [5.0, 0.5])
        await run_for(40.0, passes.one, Dirty(), clock)
        return passes.at_s

    assert on_virtual_time(main) == [0.0, 5.0, 5.5, 35.5]


def test_many_marks_cost_one_pass_and_one_during_a_pass_is_not_lost() -> None:
    async def main(clock: Clock) -> list[float]:
        passes, dirty = Passes(clock), Dirty()
        passes.busy_s = 2.0
        async with asyncio.TaskGroup() as group:
            group.create_task(run_for(20.0, passes.one, dirty, clock))
            await clock.sleep(10.0)
            for _ in range(100):
                dirty.mark()
            await clock.sleep(1.0)
            dirty.mark()
        return passes.at_s

    assert on_virtual_time(main) == [0.0, 10.0, 12.0]


@pytest.mark.parametrize(
    "error",
    [UnavailableError("away"), AmbiguousError("perhaps"), OSError(ENOSPC, "No space left")],
)
def test_what_is_away_or_refused_is_tried_again_more_and_more_seldom(error: Exception) -> None:
    async def main(clock: Clock) -> list[float]:
        passes = Passes(clock, [error] * 10)
        await run_for(20.0, passes.one, Dirty(), clock)
        return passes.at_s

    at_s = on_virtual_time(main)
    pauses = [later - earlier for earlier, later in itertools.pairwise(at_s)]
    assert 0.05 <= pauses[0] <= 0.1
    assert all(pause <= 5.0 for pause in pauses)
    assert pauses[5] > pauses[2] > pauses[0]


def test_a_lost_race_is_decided_again_almost_at_once() -> None:
    async def main(clock: Clock) -> list[float]:
        passes = Passes(clock, [ConflictError("/k", expected=1, found=2)])
        await run_for(1.0, passes.one, Dirty(), clock)
        return passes.at_s

    first, second = on_virtual_time(main)
    assert 0.0 < second - first <= 0.005


def test_a_success_forgets_the_failures_before_it() -> None:
    away = UnavailableError("away")

    async def main(clock: Clock) -> list[float]:
        passes = Passes(clock, [away, away, away, away, 1.0, away])
        await run_for(10.0, passes.one, Dirty(), clock)
        return passes.at_s

    at_s = on_virtual_time(main)
    assert 0.05 <= at_s[6] - at_s[5] <= 0.1


def test_an_error_that_no_retry_mends_ends_the_loop() -> None:
    async def main(clock: Clock) -> None:
        await run_for(1.0, Passes(clock, [DeniedError("no")]).one, Dirty(), clock)

    with pytest.raises(DeniedError):
        on_virtual_time(main)
