"""A pause that may be ended, or made longer, while it lasts.

To wake up and find nothing to do costs most; an event and a timeout would cost thrice this.
"""

import asyncio


class Pause:
    """One task's pause, used again and again."""

    def __init__(self) -> None:
        self._over: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def last(self, seconds: float) -> None:
        """Return after `seconds`, sooner if it is ended, later if it is lengthened meanwhile."""
        assert self._over is None, "one task pauses"
        loop = asyncio.get_running_loop()
        self._over = loop.create_future()
        self._timer = loop.call_later(seconds, _ring, self._over)
        try:
            await self._over
        finally:
            self._timer.cancel()
            self._over = None

    def end(self) -> None:
        """Let the pause that lasts be over; if there is none, do nothing."""
        if self._over is not None:
            _ring(self._over)

    def lengthen(self, seconds: float) -> None:
        """Let the pause that lasts end `seconds` from now instead; if there is none, do nothing."""
        if self._over is not None and self._timer is not None:
            self._timer.cancel()
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(seconds, _ring, self._over)


def _ring(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)
