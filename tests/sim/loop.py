"""An event loop that jumps to the next timer instead of waiting for it, and parts that can freeze.

For the simulation only: with real sockets or threads it would jump time while the kernel still has
an answer for us. When nothing can ever happen again it says so instead of hanging.

A part stands for a process. Which part a callback belongs to is what PART says in its context, so
that everything a part begins is the part's as well. What belongs to nobody (a server, a kernel)
passes a context of its own to its timers.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextvars import Context, ContextVar, copy_context
from heapq import heappop, heappush
from itertools import count
from typing import Any, Final, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# Ended tasks are forgotten once there are this many: often enough to stay small, seldom enough to
# cost nothing.
_TASKS_KEPT: Final = 64


# A run takes minutes of virtual time; one that goes on for ever has something that does not end.
_TIME_S_MAX: Final = 20_000.0


class DeadlockError(Exception):
    """Everyone waits for everyone, and no timer is set."""


class EndlessError(Exception):
    """Something goes on and on after everything else has ended."""


class Part:
    """A process of the simulation: it can be stopped between any two of its steps, and go on.

    While it is frozen the world goes on: its timers ring late, its answers wait in their sockets.
    """

    def __init__(self) -> None:
        self.is_frozen = False
        self.backlog: list[asyncio.Handle] = []
        self.steps_left = -1  # freeze after so many more steps; negative: never
        self._tasks: list[asyncio.Task[Any]] = []

    def freeze(self) -> None:
        """Stop before the next step."""
        self.is_frozen = True

    def freeze_after(self, steps: int) -> None:
        """Stop after so many more steps: at any await, also where no time passes."""
        self.steps_left = steps

    def thaw(self, loop: "VirtualLoop") -> None:
        """Go on with what has come meanwhile, in its order."""
        self.is_frozen, self.steps_left = False, -1
        backlog, self.backlog = self.backlog, []
        loop.run_soon(backlog)

    def kill(self, loop: "VirtualLoop") -> None:
        """End every task where it stands, frozen or not: none of them gets another step."""
        for task in self._tasks:
            task.cancel()
        self.thaw(loop)

    def may_run(self, handle: asyncio.Handle) -> bool:
        """Say whether a step may be taken now; one that may not is kept for later."""
        if self.steps_left >= 0:
            self.is_frozen = self.steps_left == 0
            self.steps_left -= 1
        if self.is_frozen:
            self.backlog.append(handle)
        return not self.is_frozen

    def has(self, task: asyncio.Task[Any]) -> None:
        """Count a task as the part's."""
        self._tasks.append(task)
        if len(self._tasks) >= _TASKS_KEPT and self._tasks[0].done():
            self._tasks = [each for each in self._tasks if not each.done()]


PART: Final[ContextVar[Part | None]] = ContextVar("PART", default=None)


class _Step(asyncio.TimerHandle):
    """A callback that waits while its part is frozen, at once or at a time.

    As asyncio's handles, without what those do for debugging: a run is a hundred thousand steps.
    """

    __slots__ = ()

    # What asyncio's own handles keep and its types do not tell of.
    _callback: Any
    _args: Any
    _context: Context
    _when: float

    def __init__(  # pylint: disable=super-init-not-called
        self,
        when: float,
        callback: Callable[..., object],
        args: Sequence[Any],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
    ) -> None:
        self._callback, self._args, self._loop, self._when = callback, args, loop, when
        self._context = copy_context() if context is None else context
        self._cancelled = False
        self._source_traceback = self._repr = None

    def cancel(self) -> None:
        """Let it not run, and hold on to nothing; the loop passes over it in its time."""
        self._cancelled = True
        self._callback = self._args = None

    def _run(self) -> None:
        if self._cancelled:
            return
        context = self._context
        part = context.get(PART)
        if part is not None and not part.may_run(self):
            return
        try:
            context.run(self._callback, *self._args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:  # noqa: BLE001 - a loop tells of whatever its callbacks raise
            self._loop.call_exception_handler(
                {"message": f"in {self._callback}", "exception": error, "handle": self}
            )


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a number, and which jumps when there is nothing to do."""

    # What asyncio's own loop keeps and its types do not tell of.
    _ready: deque[asyncio.Handle]

    def __init__(self) -> None:
        self.now_s = 0.0
        self._timers: list[tuple[float, int, _Step]] = []
        self._set = count()  # in this order what is due at the same time
        super().__init__()

    @classmethod
    def here(cls) -> "VirtualLoop":
        """Return the loop that runs this."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, cls), "on virtual time only"
        return loop

    def time(self) -> float:
        """Return virtual seconds since the loop was made."""
        return self.now_s

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Run a callback next, unless its part is frozen."""
        step = _Step(self.now_s, callback, args, self, context)
        self._ready.append(step)
        return step

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run a callback at a time, or when its part is thawed if that is later."""
        step = _Step(when, callback, args, self, context)
        heappush(self._timers, (when, next(self._set), step))
        return step

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run a callback after so many virtual seconds, or when its part is thawed."""
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def create_task(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """Begin a task of the part that begins it."""
        task = super().create_task(coro, name=name, context=context)
        part = PART.get() if context is None else context.get(PART)
        if part is not None:
            part.has(task)
        return task

    def run_soon(self, handles: list[asyncio.Handle]) -> None:
        """Run what waited, in order."""
        self._ready.extend(handles)

    def _run_once(self) -> None:
        """Take the steps that can be taken now, after a jump to the next timer if there are none.

        Raises:
            DeadlockError, EndlessError: see there.
        """
        timers, ready = self._timers, self._ready
        while not ready:
            self._jump()
        now_s = self.now_s
        while timers and timers[0][0] <= now_s:
            ready.append(heappop(timers)[2])
        for _ in range(len(ready)):
            ready.popleft()._run()  # noqa: SLF001 - as BaseEventLoop does

    def _jump(self) -> None:
        if not self._timers:
            raise DeadlockError
        when, _, step = heappop(self._timers)
        if not step.cancelled():
            self.now_s = max(self.now_s, when)
            self._ready.append(step)
        if self.now_s > _TIME_S_MAX:
            raise EndlessError(f"still running after {_TIME_S_MAX:.0f} virtual seconds")


class VirtualClock:
    """A machine's clocks on virtual time; the wall clock begins at a fixed moment.

    Args:
        loop: true time.
        rate: seconds that this clock counts in a true one.
        offset_s: what the boot clock shows when the loop begins.
    """

    def __init__(self, loop: VirtualLoop, *, rate: float = 1.0, offset_s: float = 0.0) -> None:
        self._loop, self._rate, self._offset_s = loop, rate, offset_s

    def monotonic_s(self) -> float:
        """Return virtual seconds."""
        return self._loop.now_s * self._rate

    def boot_s(self) -> float:
        """Return virtual seconds since this machine's start, which no other machine shares."""
        return self._offset_s + self._loop.now_s * self._rate

    def reboot(self) -> None:
        """Let the boot clock begin anew."""
        self._offset_s = -self._loop.now_s * self._rate

    def now_s(self) -> float:
        """Return virtual seconds since 1970."""
        return 1_700_000_000.0 + self._loop.now_s * self._rate

    async def sleep(self, seconds: float) -> None:
        """Return after virtual `seconds` of this clock."""
        await asyncio.sleep(seconds / self._rate)
