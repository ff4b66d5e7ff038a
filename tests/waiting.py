"""Waiting for a condition, which tests use instead of sleeping and hoping."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], bool], within_s: float, poll_s: float = 0.01) -> None:
    """Return as soon as `condition` holds.

    Raises:
        TimeoutError: it did not within `within_s`, on the event loop's clock.
    """
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(poll_s)
