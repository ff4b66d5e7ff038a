"""An event loop that jumps to the next timer instead of waiting for it.

For the simulation only: with real sockets or threads it would jump time while the kernel still has
an answer for us. When nothing can ever happen again it says so instead of hanging.
"""

import asyncio
import selectors


class DeadlockError(Exception):
    """Everyone waits for everyone, and no timer is set."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a number."""

    def __init__(self) -> None:
        self.now_s = 0.0
        super().__init__(_JumpSelector(self))

    def time(self) -> float:
        """Return virtual seconds since the loop was made."""
        return self.now_s


class _JumpSelector(selectors.SelectSelector):
    """Spends virtual time where a real loop would sleep."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Advance the clock by `timeout`; None: nothing can ever happen again."""
        if timeout is None:
            raise DeadlockError
        self._loop.now_s += max(timeout, 0.0)
        return super().select(0)


class VirtualClock:
    """The loop's time as a Clock; the wall clock begins at a fixed moment."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def monotonic_s(self) -> float:
        """Return virtual seconds."""
        return self._loop.now_s

    def now_s(self) -> float:
        """Return virtual seconds since 1970."""
        return 1_700_000_000.0 + self._loop.now_s

    async def sleep(self, seconds: float) -> None:
        """Return after virtual `seconds`."""
        await asyncio.sleep(seconds)
