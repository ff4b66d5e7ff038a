"""Running a test's coroutine on virtual time, where an hour costs nothing."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from shared.clock import Clock
from tests.sim.loop import VirtualClock, VirtualLoop

T = TypeVar("T")


def on_virtual_time(main: Callable[[Clock], Coroutine[Any, Any, T]]) -> T:
    """Return what `main` returns on a loop whose timers fire at once; it is given the clock."""
    loop = VirtualLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main(VirtualClock(loop)))
