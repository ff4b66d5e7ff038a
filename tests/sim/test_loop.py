"""Parts that freeze: nothing of theirs runs meanwhile, all of it does afterwards, in order."""

import asyncio
from collections.abc import Coroutine
from contextvars import Context
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared.clock import Clock
from tests.sim.loop import PART, Part, VirtualLoop
from tests.virtual import on_virtual_time


def begin(loop: VirtualLoop, part: Part, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Begin a task that belongs to the part."""
    context = Context()
    context.run(PART.set, part)
    return loop.create_task(work, context=context)


async def count(steps: list[float]) -> None:
    """Note the time ten times, with and without time passing in between, in tasks of its own."""
    loop = VirtualLoop.here()

    async def one() -> None:
        steps.append(loop.now_s)

    for number in range(10):
        await asyncio.sleep(number % 3)
        async with asyncio.TaskGroup() as group:
            group.create_task(one())


@given(st.integers(0, 60), st.floats(0, 20), st.floats(0, 20))
def test_a_part_frozen_at_any_step_does_all_it_would_have_done_but_later(
    after: int, at_s: float, down_s: float
) -> None:
    steps: list[float] = []
    others: list[float] = []

    async def main(_: Clock) -> None:
        loop = VirtualLoop.here()
        part = Part(loop)
        tasks = [begin(loop, part, count(steps)), begin(loop, Part(loop), count(others))]
        await asyncio.sleep(at_s)
        part.freeze_after(after)
        await asyncio.sleep(30)
        frozen_at = len(steps)
        await asyncio.sleep(down_s)
        assert len(steps) == frozen_at
        part.thaw()
        await asyncio.wait(tasks)

    on_virtual_time(main)
    assert len(steps) == len(others) == 10
    assert others == [0, 1, 3, 3, 4, 6, 6, 7, 9, 9]
    assert all(late >= early for late, early in zip(steps, others, strict=True))


@given(after=st.integers(0, 60), freeze_first=st.booleans())
def test_a_part_that_is_killed_gets_no_further_step(after: int, *, freeze_first: bool) -> None:
    steps: list[float] = []

    async def main(_: Clock) -> None:
        loop = VirtualLoop.here()
        part = Part(loop)
        task = begin(loop, part, count(steps))
        part.freeze_after(after)
        await asyncio.sleep(5)
        if not freeze_first:
            part.thaw()
        before = len(steps)
        part.kill()
        await asyncio.wait([task])
        assert len(steps) == before
        assert task.cancelled() or task.done()

    on_virtual_time(main)


def test_a_cancelled_timer_does_not_ring_after_the_thaw() -> None:
    rung: list[str] = []

    async def main(_: Clock) -> None:
        loop = VirtualLoop.here()
        part = Part(loop)
        context = Context()
        context.run(PART.set, part)
        timers = [loop.call_later(1, rung.append, name, context=context) for name in "ab"]
        part.freeze()
        await asyncio.sleep(2)
        timers[0].cancel()
        part.thaw()
        await asyncio.sleep(0)
        assert rung == ["b"]

    on_virtual_time(main)
