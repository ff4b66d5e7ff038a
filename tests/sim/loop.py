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
from functools import partial
from heapq import heappop, heappush
from itertools import count
from typing import Any, Final, TypeVar, TypeVarTuple

import msgspec

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

    def __init__(self, loop: "VirtualLoop") -> None:
        self._loop = loop
        self.is_frozen = False
        self.backlog: list[_Step] = []
        self.steps_left = -1  # freeze after so many more steps; negative: never
        self._tasks: list[asyncio.Task[Any]] = []

    def freeze(self) -> None:
        """Stop before the next step."""
        self.is_frozen = True
        self._loop.held.add(self)

    def freeze_after(self, steps: int) -> None:
        """Stop after so many more steps: at any await, also where no time passes."""
        self.steps_left = steps
        self._loop.held.add(self)

    def thaw(self) -> None:
        """Go on with what has come meanwhile, in its order."""
        self.is_frozen, self.steps_left = False, -1
        self._loop.held.discard(self)
        backlog, self.backlog = self.backlog, []
        self._loop.run_soon(backlog)

    def kill(self) -> None:
        """End every task where it stands, frozen or not: none of them gets another step."""
        for task in self._tasks:
            task.cancel()
        self.thaw()

    def may_run(self, step: "_Step") -> bool:
        """Say whether a step may be taken now; one that may not is kept for later."""
        if self.steps_left >= 0:
            self.is_frozen = self.steps_left == 0
            self.steps_left -= 1
        if self.is_frozen:
            self.backlog.append(step)
        return not self.is_frozen

    def has(self, task: asyncio.Task[Any]) -> None:
        """Count a task as the part's."""
        self._tasks.append(task)
        if len(self._tasks) >= _TASKS_KEPT and self._tasks[0].done():
            self._tasks = [each for each in self._tasks if not each.done()]


PART: Final[ContextVar[Part | None]] = ContextVar("PART", default=None)


class _Step(msgspec.Struct):
    """A callback that waits while its part is frozen, at once or at a time.

    What asyncio's handles are to those who are given one, without what those do for debugging, and
    made without a frame: a run is a hundred thousand steps.
    """

    callback: Callable[..., object]
    args: Sequence[Any]
    context: Context
    is_cancelled: bool = False

    def cancel(self) -> None:
        """Let it not run: the loop passes over it in its time."""
        self.is_cancelled = True

    def cancelled(self) -> bool:
        """Say whether it was cancelled."""
        return self.is_cancelled


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a number, and which jumps when there is nothing to do.

    Attributes:
        held: the parts that are frozen or about to be.
    """

    # What asyncio's own loop keeps and its types do not tell of.
    _ready: deque[_Step]
    _stopping: bool

    def __init__(self) -> None:
        self.now_s = 0.0
        self.held: set[Part] = set()
        self._timers: list[tuple[float, int, _Step]] = []
        self._set = count()  # in this order what is due at the same time
        super().__init__()
        if not self.get_debug():
            # Every future and every task asks for it.
            self.get_debug = bool  # type: ignore[method-assign]
        # As asyncio's own, without a frame for each: a run makes thousands.
        self.create_future = partial(asyncio.Future, loop=self)  # type: ignore[method-assign]

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
        step = _Step(callback, args, copy_context() if context is None else context)
        self._ready.append(step)
        return step  # type: ignore[return-value]

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run a callback at a time, or when its part is thawed if that is later."""
        step = _Step(callback, args, copy_context() if context is None else context)
        heappush(self._timers, (when, next(self._set), step))
        return step  # type: ignore[return-value]

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run a callback after so many virtual seconds, or when its part is thawed."""
        step = _Step(callback, args, copy_context() if context is None else context)
        heappush(self._timers, (self.now_s + delay, next(self._set), step))
        return step  # type: ignore[return-value]

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

    def run_soon(self, steps: list[_Step]) -> None:
        """Run what waited, in order."""
        self._ready.extend(steps)

    def _run_once(self) -> None:  # noqa: C901 - a call less in each round of each seed
        """Take steps until the loop is told to stop, in rounds as asyncio's own loop does.

        A round is what can be run now; when that is nothing, time jumps to the next timer. Rounds
        are not left in between: a run has a hundred thousand of them.

        Raises:
            DeadlockError, EndlessError: see there.
        """
        ready, timers, take = self._ready, self._timers, self._ready.popleft
        held = self.held
        while True:
            if not ready or (timers and timers[0][0] <= self.now_s):
                self._gather()
            for _ in range(len(ready)):
                step = take()
                if step.is_cancelled:
                    continue
                context = step.context
                # Whose step it is matters only while somebody is held, which is seldom.
                part = context.get(PART) if held else None
                if part is not None and part in held and not part.may_run(step):
                    continue
                try:
                    context.run(step.callback, *step.args)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as error:  # noqa: BLE001 - a loop tells of whatever its steps raise
                    self._tell(step, error)
            if self._stopping:
                return

    def _gather(self) -> None:
        """Add what is due; if there is nothing at all, let it be the time of the next timer."""
        timers, ready = self._timers, self._ready
        while timers and (not ready or timers[0][0] <= self.now_s):
            when, _, step = heappop(timers)
            if not step.is_cancelled:
                ready.append(step)
                if when > self.now_s:  # noqa: PLR1730 - of every timer: a call less
                    self.now_s = when
        if not ready:
            raise DeadlockError
        if self.now_s > _TIME_S_MAX:
            raise EndlessError(f"still running after {_TIME_S_MAX:.0f} virtual seconds")

    def _tell(self, step: _Step, error: BaseException) -> None:
        context = {"message": f"in {step.callback}", "exception": error, "handle": step}
        self.call_exception_handler(context)


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

    def true_s(self, boot_s: float) -> float:
        """Return the virtual moment at which this machine's boot clock shows `boot_s`."""
        return (boot_s - self._offset_s) / self._rate

    def reboot(self) -> None:
        """Let the boot clock begin anew."""
        self._offset_s = -self._loop.now_s * self._rate

    def now_s(self) -> float:
        """Return virtual seconds since 1970."""
        return 1_700_000_000.0 + self._loop.now_s * self._rate

    def sleep(self, seconds: float) -> Coroutine[Any, Any, None]:
        """Return after virtual `seconds` of this clock."""
        return asyncio.sleep(seconds / self._rate)
