"""Waiting for a condition, which tests use instead of sleeping and hoping."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Final

# As long as so many looks.
_PAUSES: Final = 3
# Limits are written down for a machine that has nothing else to do. On one that is slow and noisy
# all takes longer: what a limit is to end is a hang.
_PATIENCE: Final = 3


async def until(
    condition: Callable[[], bool | Awaitable[bool]], within_s: float, poll_s: float = 0.01
) -> None:
    """Return as soon as `condition` holds.

    Args:
        condition: the whole claim: what is true only once need not be true any more afterwards.
        within_s: on a machine that is not busy; others are given three times as long.
        poll_s: between two looks.

    Raises:
        TimeoutError: it did not hold by then, on the event loop's clock.
    """
    async with asyncio.timeout(within_s * _PATIENCE):
        while not await _holds(condition):  # noqa: ASYNC110 - it may lie in another process
            await asyncio.sleep(poll_s)


async def _holds(condition: Callable[[], bool | Awaitable[bool]]) -> bool:
    found = condition()
    return await found if inspect.isawaitable(found) else found


def until_sync(condition: Callable[[], bool], within_s: float, poll_s: float = 0.1) -> None:
    """Return soon after `condition` holds, without an event loop.

    Looks for a quarter of the time at most: a look may be a command, which takes a processor from
    the hosts that it asks, and several tests look at once. Else as `until`.

    Raises:
        TimeoutError: it did not hold in time.
    """
    limit_s = within_s * _PATIENCE
    deadline_s = time.monotonic() + limit_s
    while True:
        began_s = time.monotonic()
        if condition():
            return
        now_s = time.monotonic()
        if now_s > deadline_s:
            raise TimeoutError(f"not within {limit_s} s: {condition}")
        time.sleep(max(poll_s, _PAUSES * (now_s - began_s)))
