"""The reconcile loop: run when something changed or a period ended, one pass at a time.

Events only mark work dirty; the pass always compares whole with whole, so a hundred events cost one
pass and a missed one is healed by the period.
"""

from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import structlog

from shared.backoff import Rng, backoff_s
from shared.clock import Clock
from shared.errors import AmbiguousError, ConflictError, UnavailableError
from shared.pause import Pause

_log = structlog.get_logger()

# Two moments may differ by less than a clock can tell: waiting for that would spin.
_WAIT_S_MIN: Final = 0.001


class Dirty:
    """A flag that wakes one loop; setting it twice is setting it once."""

    def __init__(self) -> None:
        self._is_marked, self._pause = False, Pause()

    def mark(self) -> None:
        """Ask for another pass."""
        self._is_marked = True
        self._pause.end()

    async def wait(self, seconds: float) -> None:
        """Return when marked, or after `seconds`; the mark is taken. Only one may wait."""
        if not self._is_marked:
            await self._pause.last(max(seconds, _WAIT_S_MIN))
        self._is_marked = False


async def reconcile_forever(
    one_pass: Callable[[], Awaitable[float]], dirty: Dirty, clock: Clock, rng: Rng
) -> NoReturn:
    """Call `one_pass` for ever; it returns in how many seconds it wants to run again at the latest.

    A lost race or an unreachable store is tried again with backoff. So is what the host refuses,
    such as room on its disk: a process that begins anew gets no other answer, and all its other
    loops would stand still meanwhile. Every other error ends the loop and with it the process: its
    supervisor starts it again and it adopts what it finds.
    """
    attempt = 0
    while True:
        try:
            wait_s = await one_pass()
            attempt = 0
        except ConflictError as error:
            attempt += 1
            wait_s = backoff_s(attempt, rng, base_s=0.005)
            _log.info("decide_again", reason=str(error))
        except (UnavailableError, AmbiguousError) as error:
            attempt += 1
            wait_s = backoff_s(attempt, rng)
            _log.warning("store_unavailable", reason=str(error), attempt=attempt)
        except OSError as error:
            attempt += 1
            wait_s = backoff_s(attempt, rng)
            _log.error("host_refuses", reason=str(error), attempt=attempt)
        if attempt:
            await clock.sleep(wait_s)
        else:
            await dirty.wait(wait_s)
