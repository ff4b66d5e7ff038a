"""Time as a parameter: what shells may ask for, so that a simulation can hand in its own.

`monotonic_s` is for durations. `now_s` is the wall clock, for people's eyes only. The clocks of two
machines are never compared.
"""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """What a shell may know about time."""

    def monotonic_s(self) -> float:
        """Return seconds since some fixed moment; never goes backwards."""
        ...

    def boot_s(self) -> float:
        """Return seconds since some fixed moment on a clock that goes on while the machine sleeps.

        For what must end in time whether or not anybody was awake to end it.
        """
        ...

    def now_s(self) -> float:
        """Return seconds since 1970, for display only."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class SystemClock:
    """The machine's clock."""

    def monotonic_s(self) -> float:
        """Return the event loop's idea of time, so that timers and durations agree."""
        return asyncio.get_running_loop().time()

    def boot_s(self) -> float:
        """Return CLOCK_BOOTTIME."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def now_s(self) -> float:
        """Return seconds since 1970."""
        return time.time()  # noqa: TID251 - this module is where everyone else's `now` comes from

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)
