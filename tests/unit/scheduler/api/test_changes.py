"""Everyone who waits is woken by a change, and nobody waits for one that has been."""

import asyncio

from scheduler.api.changes import Changes

LONG_S = 60.0


async def test_every_waiter_is_woken() -> None:
    changes = Changes()
    async with asyncio.timeout(5.0), asyncio.TaskGroup() as group:
        waiting = [group.create_task(changes.wait(0, LONG_S)) for _ in range(3)]
        await asyncio.sleep(0)
        changes.mark()

    assert [task.result() for task in waiting] == [1, 1, 1]


async def test_a_change_that_has_been_is_not_waited_for() -> None:
    changes = Changes()
    changes.mark()
    async with asyncio.timeout(5.0):
        assert await changes.wait(0, LONG_S) == 1


async def test_a_waiter_looks_again_after_its_time() -> None:
    assert await Changes().wait(0, 0.0) == 0
