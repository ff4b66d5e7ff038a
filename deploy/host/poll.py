"""Waiting for what the kernel does not announce: a port that closes, a cgroup that empties."""

import asyncio
from collections.abc import Callable
from typing import Final

_FIRST_S: Final = 0.002
_LIMIT_S: Final = 0.1
_GROWTH: Final = 1.5


async def until(condition: Callable[[], bool], within_s: float) -> bool:
    """Return True as soon as `condition` holds, False if it does not within `within_s`.

    Looks at once, then ever less often: most of what is waited for takes a few milliseconds.
    """
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    pause_s = _FIRST_S
    while not condition():
        if loop.time() >= deadline_s:
            return False
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * _GROWTH, _LIMIT_S)
    return True
