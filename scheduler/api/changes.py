"""Waking everyone who waits for the view to change, without a queue per waiter."""

import asyncio


class Changes:
    """Counts the changes of a view; any number of waiters sleep until the count moves on.

    A waiter that was slow sees one change instead of ten: what counts is the view as it is now.
    """

    def __init__(self) -> None:
        self.count = 0
        self._next = asyncio.Event()

    def mark(self) -> None:
        """Wake every waiter; the root hangs this on the view's `on_change`."""
        self.count += 1
        self._next.set()
        self._next = asyncio.Event()

    async def wait(self, seen: int, seconds: float) -> int:
        """Return the count once it is past `seen`, or as it is after `seconds`."""
        if self.count == seen:
            try:
                async with asyncio.timeout(max(seconds, 0.0)):
                    await self._next.wait()
            except TimeoutError:
                pass  # the caller looks again all the same
        return self.count
