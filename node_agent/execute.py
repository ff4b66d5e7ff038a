"""Performs steps against the runtime: at most one per allocation, each with a deadline."""

import asyncio
import enum
from collections.abc import Callable, Iterable
from typing import Final, assert_never

import structlog

from node_agent.actions import Create, Remove, Start, Step, Stop
from node_agent.contents import Contents
from node_agent.runtime import Runtime
from shared.errors import (
    AddressTakenError,
    ContentsGoneError,
    FuseBurntError,
    RuntimeFailureError,
    StoreError,
)
from shared.model import AllocId, PullPolicy

_log = structlog.get_logger()

# An image of several GB over a slow line; a step past this is cut off and decided again.
CREATE_DEADLINE_S: Final = 900.0
# Starting takes tens of milliseconds; a runtime that needs longer than this hangs.
STEP_DEADLINE_S: Final = 60.0
# What may not begin now is not asked for again at once: that would be for ever.
PUT_OFF_S: Final = 0.1
# A container with secrets cannot be made without the store; it is likely to be away for longer.
STORE_AWAY_S: Final = 1.0
# What cannot be ended or removed is decided again at once; a disk refuses within microseconds.
REFUSED_S: Final = 1.0
# Two cores gain nothing from more starts at a time (measured), a larger host a little.
PARALLEL_MAX: Final = 8


class Wanted(enum.Enum):
    """What is wanted of an allocation now."""

    NO = "no"
    MADE = "made"
    RUNNING = "running"


class Executor:
    """Owns the steps under way.

    Args:
        runtime: what performs them.
        contents: what is in configs and secrets.
        group: owns their asyncio tasks.
        failed: called with an allocation and a sentence when a step of it could not be done.
        done: called after every step.
        wanted: asked on the way from an image to a running container, which may take minutes:
            whether an allocation may still be made, and started.
    """

    def __init__(
        self,
        runtime: Runtime,
        contents: Contents,
        group: asyncio.TaskGroup,
        *,
        failed: Callable[[Step, str], None],
        done: Callable[[], None],
        wanted: Callable[[AllocId], Wanted],
    ) -> None:
        self._runtime, self._contents, self._group = runtime, contents, group
        self._failed, self._done, self._wanted = failed, done, wanted
        self._in_flight: set[AllocId] = set()
        self._slots = asyncio.Semaphore(PARALLEL_MAX)

    @property
    def in_flight(self) -> frozenset[AllocId]:
        """Return the allocations that have a step under way."""
        return frozenset(self._in_flight)

    def begin(self, steps: Iterable[Step]) -> None:
        """Start performing `steps`; their allocations must have none under way."""
        for step in steps:
            assert step.id not in self._in_flight, f"{step.id} has a step under way"
            self._in_flight.add(step.id)
            self._group.create_task(self._run(step))

    async def _run(self, step: Step) -> None:
        try:
            async with self._slots, asyncio.timeout(_deadline_s(step)):
                _log.info("step", kind=type(step).__name__, id=step.id, reason=step.reason)
                await self._perform(step)
        except (FuseBurntError, AddressTakenError) as error:
            _log.warning("step_put_off", kind=type(step).__name__, id=step.id, reason=str(error))
            await asyncio.sleep(PUT_OFF_S)
        except StoreError as error:
            _log.warning("step_put_off", kind=type(step).__name__, id=step.id, reason=str(error))
            await asyncio.sleep(STORE_AWAY_S)
        except RuntimeFailureError as error:
            _log.warning("step_failed", kind=type(step).__name__, id=step.id, reason=str(error))
            self._failed(step, str(error))
            if isinstance(step, Stop | Remove):
                await asyncio.sleep(REFUSED_S)
        except TimeoutError:
            reason = f"{type(step).__name__} took longer than {_deadline_s(step):g} s"
            _log.warning("step_failed", kind=type(step).__name__, id=step.id, reason=reason)
            self._failed(step, reason)
        finally:
            self._in_flight.discard(step.id)
            self._done()

    async def _perform(self, step: Step) -> None:
        match step:
            case Create():
                await self._create(step)
            case Start():
                await self._start(step.id)
            case Stop():
                await self._runtime.stop(step.id, step.grace_s)
            case Remove():
                await self._runtime.remove(step.id)
            case _:
                assert_never(step)

    async def _create(self, step: Create) -> None:
        workload = step.assignment.workload
        if workload.pull is not PullPolicy.NEVER:
            await self._runtime.pull(workload.image, anew=workload.pull is PullPolicy.ALWAYS)
        given = await self._contents.read(workload.files)
        if self._wanted(step.id) is Wanted.NO:
            return
        await self._runtime.create(step.assignment, given)
        # Started in the same step: one pass less until it answers.
        if step.start and self._wanted(step.id) is Wanted.RUNNING:
            await self._runtime.start(step.id)

    async def _start(self, id_: AllocId) -> None:
        try:
            await self._runtime.start(id_)
        except ContentsGoneError:
            (made,) = [each for each in await self._runtime.list() if each.id == id_]
            given = await self._contents.read(made.assignment.workload.files)
            await self._runtime.create(made.assignment, given)
            await self._runtime.start(id_)


def _deadline_s(step: Step) -> float:
    match step:
        case Create():
            return CREATE_DEADLINE_S
        case Stop():
            return step.grace_s + STEP_DEADLINE_S
        case _:
            return STEP_DEADLINE_S
