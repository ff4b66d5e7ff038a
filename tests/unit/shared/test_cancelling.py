"""A cancellation that a failed task group swallows is heard all the same."""

import asyncio

import pytest

from shared.cancelling import heed_cancellation


def fail() -> None:
    raise ValueError


async def test_a_cancellation_that_came_while_a_group_ended_is_heard() -> None:
    is_ending, may_end = asyncio.Event(), asyncio.Event()

    async def slow_to_end() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            is_ending.set()
            await may_end.wait()

    async def one_that_goes_on() -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(slow_to_end())
                await asyncio.sleep(0)
                fail()
        except* ValueError:
            pass
        heed_cancellation()
        return "went on"

    async with asyncio.TaskGroup() as group:
        task = group.create_task(one_that_goes_on())
        await is_ending.wait()
        task.cancel()
        await asyncio.sleep(0)
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_without_one_all_goes_on() -> None:
    try:
        async with asyncio.TaskGroup():
            fail()
    except* ValueError:
        pass
    heed_cancellation()
