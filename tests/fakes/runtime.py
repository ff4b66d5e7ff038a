"""A node's runtime in memory: the contract of the real one, and its accidents on demand."""

import asyncio
import contextvars
import errno
import math
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from datetime import UTC, datetime

import msgspec

from node_agent.runtime import EXIT_UNKNOWN, NO_CONTENTS, Container, ExecResult, LogLine, Phase
from shared.clock import Clock
from shared.errors import ContentsGoneError, FuseBurntError, ImageError, RuntimeFailureError
from shared.model import AllocId, Assignment, MountKind, Resources

_KILLED = 137
_POLL_S = 0.2
_NO_ROOM = os.strerror(errno.ENOSPC)
# A fuse rings early, and looks at its node's own clock, which may be wrong by less than 2 %.
_EARLY = 0.98
_SOON_S = 1e-6


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """How long actions take, in seconds; the defaults are what the real runtime was measured at."""

    pull_s: float = 1.0
    create_s: float = 0.025
    start_s: float = 0.007
    remove_s: float = 0.03


class Behaviour(msgspec.Struct, frozen=True, kw_only=True):
    """What the program in a container does.

    Attributes:
        ends_after_s: inf: it runs until something ends it.
        exit_code: with which it ends by itself, and when it is asked to stop.
        stops_after_s: how long it takes to obey; inf: it ignores the signal.
        exec_code, exec_output, exec_s: how every command inside it ends, and after how long.
        output: the lines it writes at its start.
    """

    ends_after_s: float = math.inf
    exit_code: int = 0
    stops_after_s: float = 0.0
    exec_code: int = 0
    exec_output: str = ""
    exec_s: float = 0.0
    output: tuple[str, ...] = ()


class FakeRuntime:
    """The `Runtime` of a simulated node. It survives its agent's crash, as containers do.

    Args:
        clock: the node's own; its boot clock is that of the fuses.
        known: images that a pull finds; None: every image.
        behaviour: what the program of an assignment does.
        refusal: (verb, id) -> why that action fails now, or None.
        capacity: of the node.
        timings: of the actions.

    What the kernel does by itself happens in the context in which this was made.

    Attributes:
        is_full: the disk has no room: nothing can be fetched, made, or made anew.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        known: Iterable[str] | None = None,
        behaviour: Callable[[Assignment], Behaviour] = lambda _: Behaviour(),
        refusal: Callable[[str, AllocId], str | None] = lambda _verb, _id: None,
        capacity: Resources = Resources(cpu_millis=4000, memory_bytes=8 << 30),  # noqa: B008 - frozen
        timings: Timings = Timings(),  # noqa: B008 - frozen
    ) -> None:
        self.is_full = False
        self._clock = clock
        self._known = None if known is None else frozenset(known)
        self._behaviour, self._refusal = behaviour, refusal
        self._capacity, self._timings = capacity, timings
        self._runs: list[Callable[[Assignment, Phase], None]] = []
        self._data: list[Callable[[str, bool], None]] = []
        self._context = contextvars.copy_context()
        self._until_s = 0.0  # the last moment told to this agent
        self._deadlines: dict[AllocId, float] = {}
        self._fuses: dict[AllocId, asyncio.TimerHandle] = {}
        self._images: set[str] = set()
        self._half_made: set[AllocId] = set()
        self._volumes: set[str] = set()
        self._secretless: set[AllocId] = set()
        self._containers: dict[AllocId, Container] = {}
        self._logs: dict[AllocId, list[LogLine]] = {}
        self._timers: dict[AllocId, asyncio.TimerHandle] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._addresses = 1

    # ------------------------------------------------------------ accidents

    def crash(self, id_: AllocId, exit_code: int = 1, *, oom_killed: bool = False) -> None:
        """Let the container's program end now, if it runs."""
        timer = self._timers.pop(id_, None)
        if timer is not None:
            timer.cancel()
        have = self._containers.get(id_)
        self._snuff(id_)
        if have is None or have.phase is Phase.EXITED:
            return
        if have.phase is Phase.RUNNING:
            self._tell(have.assignment, Phase.EXITED)
        self._containers[id_] = msgspec.structs.replace(
            have, phase=Phase.EXITED, exit_code=exit_code, oom_killed=oom_killed
        )
        for callback in self._callbacks:
            callback()

    def power_loss(self) -> None:
        """End everything without a word to anyone; the disk keeps what was whole."""
        self.agent_crash()
        for id_, container in tuple(self._containers.items()):
            self.crash(id_, EXIT_UNKNOWN)
            if any(each.is_secret for each in container.assignment.workload.files):
                self._secretless.add(id_)

    def agent_crash(self) -> None:
        """Forget who wanted to be called, and the moment told; the containers run on."""
        self._callbacks.clear()
        self._until_s = 0.0

    def on_run(self, callback: Callable[[Assignment, Phase], None]) -> None:
        """Tell of every container at the moment it begins (Phase.RUNNING) or ends to run (EXITED).

        Whether or not there is an agent to see it.
        """
        self._runs.append(callback)

    def on_data(self, callback: Callable[[str, bool], None]) -> None:
        """Call `callback` with a volume's name when its data comes (True) and when it goes."""
        self._data.append(callback)

    def all(self) -> tuple[Container, ...]:
        """Return every whole container, without asking an agent."""
        return tuple(self._containers[id_] for id_ in sorted(self._containers))

    # ------------------------------------------------------------ the protocol

    async def list(self) -> tuple[Container, ...]:
        """Return every whole container, sorted by id."""
        return self.all()

    async def has_image(self, image: str) -> bool:
        """Say whether the image was pulled."""
        return image in self._images

    async def pull(self, image: str, *, anew: bool = False) -> None:
        """Fetch the image, unless it is here or unknown to the world."""
        if image in self._images and not anew:
            return
        await self._clock.sleep(self._timings.pull_s)
        if self.is_full:
            raise ImageError(f"{image}: not fetched: {_NO_ROOM}")
        if self._known is not None and image not in self._known:
            raise ImageError(f"{image}: no such image")
        self._images.add(image)

    async def create(
        self, assignment: Assignment, given: Mapping[str, bytes] = NO_CONTENTS
    ) -> None:
        """Make the container; cancelled half-way, it is half-made."""
        id_ = assignment.id
        if id_ in self._containers and id_ not in self._secretless:
            return
        self._refuse("create", id_)
        self._need_room(id_, "not made")
        lacking = [each.target for each in assignment.workload.files if each.content not in given]
        if lacking:
            raise RuntimeFailureError(f"{lacking[0]}: its content was not given")
        if id_ in self._secretless:
            self._secretless.discard(id_)
            return
        self._check(assignment)
        if assignment.workload.image not in self._images:
            raise ImageError(f"{assignment.workload.image}: not on this node; pull it first")
        self._half_made.add(id_)
        await self._clock.sleep(self._timings.create_s)
        self._check(assignment)
        self._half_made.discard(id_)
        for name in sorted(_volumes_of(assignment) - self._volumes):
            self._volumes.add(name)
            self._tell_data(name, is_there=True)
        address = f"10.90.{self._addresses // 250}.{self._addresses % 250 + 2}"
        self._addresses += 1
        self._containers[id_] = Container(
            assignment=assignment, phase=Phase.CREATED, address=assignment.address or address
        )
        self._logs[id_] = []
        self._light(assignment)

    async def start(self, id_: AllocId) -> None:
        """Run the container, again if it has exited."""
        have = self._get(id_)
        if have.phase is Phase.RUNNING:
            return
        self._refuse("start", id_)
        self._check(have.assignment)
        if id_ in self._secretless:
            raise ContentsGoneError(f"{id_}: its secrets are gone, as after a reboot")
        if have.phase is Phase.EXITED:
            self._need_room(id_, "not started")
            await self._clock.sleep(self._timings.create_s)
        await self._clock.sleep(self._timings.start_s)
        have = self._get(id_)  # it may be gone by now
        self._check(have.assignment)
        self._light(have.assignment)
        behaviour = self._behaviour(have.assignment)
        self._containers[id_] = msgspec.structs.replace(
            have, phase=Phase.RUNNING, started=have.started + 1, exit_code=None, oom_killed=False
        )
        self._tell(have.assignment, Phase.RUNNING)
        for text in behaviour.output:
            self.write(id_, text)
        if behaviour.ends_after_s < math.inf:
            self._timers[id_] = self._later(
                behaviour.ends_after_s, self.crash, id_, behaviour.exit_code
            )

    async def stop(self, id_: AllocId, grace_s: float) -> None:
        """End the container: by itself within `grace_s`, or with 137 after it."""
        have = self._containers.get(id_)
        if have is None or have.phase is Phase.EXITED:
            return
        if have.phase is Phase.CREATED:
            self.crash(id_, _KILLED)
            return
        behaviour = self._behaviour(have.assignment)
        await self._clock.sleep(min(behaviour.stops_after_s, grace_s))
        obeyed = behaviour.stops_after_s <= grace_s
        self.crash(id_, behaviour.exit_code if obeyed else _KILLED)

    async def remove(self, id_: AllocId) -> None:
        """Remove everything of the container."""
        if id_ not in self._containers and id_ not in self._half_made:
            return
        self._refuse("remove", id_)
        self.crash(id_, _KILLED)
        await self._clock.sleep(self._timings.remove_s)
        self._containers.pop(id_, None)
        self._secretless.discard(id_)
        self._half_made.discard(id_)
        self._logs.pop(id_, None)

    async def exec(self, id_: AllocId, argv: tuple[str, ...], timeout_s: float) -> ExecResult:
        """Answer as the container's behaviour says."""
        del argv
        have = self._get(id_)
        if have.phase is not Phase.RUNNING:
            raise RuntimeFailureError(f"{id_} is {have.phase}, not running")
        behaviour = self._behaviour(have.assignment)
        await self._clock.sleep(min(behaviour.exec_s, timeout_s))
        if behaviour.exec_s > timeout_s:
            return ExecResult(124, "")
        return ExecResult(behaviour.exec_code, behaviour.exec_output)

    async def logs(
        self, id_: AllocId, *, follow: bool, tail: int | None
    ) -> AsyncGenerator[LogLine, None]:
        """Yield what was written."""
        self._get(id_)
        lines = self._logs[id_]
        position = 0 if tail is None else max(len(lines) - tail, 0)
        while True:
            while position < len(lines):
                position += 1
                yield lines[position - 1]
            if not follow or id_ not in self._containers:
                return
            await self._clock.sleep(_POLL_S)

    def on_exit(self, callback: Callable[[], None]) -> None:
        """Call `callback` after any container exits, until the agent crashes."""
        self._callbacks.append(callback)

    def keep_until(self, boot_s: float) -> None:
        """Move every fuse on; each rings when it would have burnt, and looks again."""
        self._until_s = max(self._until_s, boot_s)
        for id_ in self._deadlines:
            self._deadlines[id_] = max(self._deadlines[id_], boot_s)

    def capacity(self) -> Resources:
        """Return what the node has."""
        return self._capacity

    def volumes(self) -> tuple[str, ...]:
        """Return the named volumes that a container ever had here, sorted."""
        return tuple(sorted(self._volumes))

    async def remove_volume(self, name: str) -> None:
        """Remove a volume that no container has."""
        for container in self.all():
            if name in _volumes_of(container.assignment):
                raise RuntimeFailureError(f"volume {name}: {container.id} still uses it")
        if name in self._volumes:
            self._volumes.discard(name)
            self._tell_data(name, is_there=False)

    def write(self, id_: AllocId, text: str) -> None:
        """Let the container write a line."""
        at = datetime.fromtimestamp(self._clock.now_s(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        self._logs[id_].append(LogLine(at, "stdout", text))

    def _check(self, assignment: Assignment) -> None:
        if assignment.workload.exclusive and self._until_s <= self._clock.boot_s():
            raise FuseBurntError(f"{assignment.id}: fenced: exclusive")

    def _light(self, assignment: Assignment) -> None:
        """Give an exclusive container its fuse, if it has none."""
        if assignment.workload.exclusive and assignment.id not in self._deadlines:
            self._deadlines[assignment.id] = self._until_s
            self._ring(assignment.id)

    def _ring(self, id_: AllocId) -> None:
        """Burn the fuse if it is time; else look again, by the node's own clock."""
        left_s = self._deadlines[id_] - self._clock.boot_s()
        if left_s <= 0:
            self.crash(id_, _KILLED)
        else:
            self._fuses[id_] = self._later(max(left_s * _EARLY, _SOON_S), self._ring, id_)

    def _snuff(self, id_: AllocId) -> None:
        self._deadlines.pop(id_, None)
        fuse = self._fuses.pop(id_, None)
        if fuse is not None:
            fuse.cancel()

    def _tell(self, assignment: Assignment, phase: Phase) -> None:
        for callback in self._runs:
            callback(assignment, phase)

    def _tell_data(self, name: str, *, is_there: bool) -> None:
        for callback in self._data:
            callback(name, is_there)

    def _later(
        self, delay_s: float, callback: Callable[..., None], *args: object
    ) -> asyncio.TimerHandle:
        """Let the kernel do something: no agent has a part in it."""
        loop = asyncio.get_running_loop()
        return loop.call_later(delay_s, callback, *args, context=self._context)

    def _get(self, id_: AllocId) -> Container:
        if id_ not in self._containers:
            raise RuntimeFailureError(f"{id_}: no such container on this node")
        return self._containers[id_]

    def _need_room(self, id_: AllocId, what: str) -> None:
        if self.is_full:
            raise RuntimeFailureError(f"{id_}: {what}: {_NO_ROOM}")

    def _refuse(self, verb: str, id_: AllocId) -> None:
        reason = self._refusal(verb, id_)
        if reason is not None:
            raise RuntimeFailureError(f"{id_}: {verb}: {reason}")


def _volumes_of(assignment: Assignment) -> set[str]:
    return {
        each.source
        for each in assignment.workload.mounts
        if each.kind is MountKind.VOLUME and each.source
    }
