"""What the agent needs of something that runs containers, and what it sees there.

The implementations are held to tests/contract/test_runtime.py: `oci` (crun or runc with conmon) and
the fake of the simulation. A container belongs to one allocation and has its id.
"""

import enum
from collections.abc import AsyncGenerator, Callable, Mapping
from types import MappingProxyType
from typing import Final, Protocol

import msgspec

from shared.model import AllocId, Assignment, Resources

# The exit code of a container whose end nobody saw: the power failed, or its keeper was killed.
EXIT_UNKNOWN: Final = 255
NO_CONTENTS: Final[Mapping[str, bytes]] = MappingProxyType({})


class Phase(enum.StrEnum):
    """Where a container is in its life."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """One container that carries our mark, as the kernel and the disk have it.

    Attributes:
        assignment: what it was created for, read back from disk: adoption needs no memory.
        started: which start of this container this is, from 1; 0 before the first.
        exit_code: of the last run; 128 + signal when a signal ended it; None unless EXITED.
        oom_killed: the kernel ended it because it passed its memory limit.
    """

    assignment: Assignment
    phase: Phase
    address: str = ""
    started: int = 0
    exit_code: int | None = None
    oom_killed: bool = False

    @property
    def id(self) -> AllocId:
        """Return the allocation's id, which is the container's."""
        return self.assignment.id


class ExecResult(msgspec.Struct, frozen=True):
    """How a command inside a container ended; `output` is stdout and stderr, the last 4 KiB."""

    exit_code: int
    output: str


class LogLine(msgspec.Struct, frozen=True):
    """One line that a container wrote.

    `stream` is "stdout" or "stderr"; `at` is RFC 3339 with nanoseconds.
    """

    at: str
    stream: str
    text: str


class Runtime(Protocol):
    """Runs containers on this node.

    Every action is idempotent: done twice it is done once, and killed half-way it can be done
    again. Actions on different containers may run at the same time; the caller runs at most one per
    container.
    """

    async def list(self) -> tuple[Container, ...]:
        """Return every container of ours, sorted by id.

        A half-made one is not listed; `remove` cleans it.
        """
        ...

    async def has_image(self, image: str) -> bool:
        """Say whether `create` could use `image` without pulling."""
        ...

    async def pull(self, image: str, *, anew: bool = False) -> None:
        """Fetch and unpack an image if this node does not have it.

        With `anew` the registry is asked in any case: the name may mean another image by now.

        Raises:
            ImageError: no such image, no right to it, or no way there; the message says which.
        """
        ...

    async def create(
        self, assignment: Assignment, given: Mapping[str, bytes] = NO_CONTENTS
    ) -> None:
        """Make the container.

        Root file system, network with an address, cgroup, volumes, a process that waits. Of a
        container that is there only those of its files are made anew that a reboot has taken.

        Args:
            assignment: what to run.
            given: what is in its files, by MountedFile.content.

        Raises:
            RuntimeFailureError: with the program's own last line, or why it cannot be.
        """
        ...

    async def start(self, id_: AllocId) -> None:
        """Run the created container.

        One that has exited is made anew first, with the same address and the same image.

        Raises:
            ContentsGoneError: its secrets are; `create` with the contents brings them back.
            RuntimeFailureError: with the program's own last line.
        """
        ...

    async def stop(self, id_: AllocId, grace_s: float) -> None:
        """Send the stop signal, wait up to `grace_s`, then SIGKILL.

        Return when it has exited.
        """
        ...

    async def remove(self, id_: AllocId) -> None:
        """Kill it if it runs, then remove everything of it: mounts, network, cgroup, files, log."""
        ...

    async def exec(self, id_: AllocId, argv: tuple[str, ...], timeout_s: float) -> ExecResult:
        """Run a command inside.

        One that is still running after `timeout_s` is killed and gives exit code 124.
        """
        ...

    def logs(
        self, id_: AllocId, *, follow: bool, tail: int | None
    ) -> AsyncGenerator[LogLine, None]:
        """Yield the last `tail` lines (None.

        All), then, with `follow`, new ones until the container is removed.
        """
        ...

    def on_exit(self, callback: Callable[[], None]) -> None:
        """Call `callback` soon after any container exits, adopted ones too."""
        ...

    def keep_until(self, boot_s: float) -> None:
        """Let exclusive containers live until this moment of the boot clock, and no longer.

        The kernel ends them then, whoever is dead or stands still, unless the moment has been moved
        on; it never goes back. Those that are made later get the last moment told. As long as none
        was told (an agent that has just started knows of none), or when it is past, `create` and
        `start` of an exclusive container raise FuseBurntError; what runs
        keeps the moment that it has. Does not wait, and says nothing of containers that are gone.
        """
        ...

    def capacity(self) -> Resources:
        """Return what this node has for containers."""
        ...

    def volumes(self) -> tuple[str, ...]:
        """Return the named volumes whose data is here, sorted."""
        ...

    async def remove_volume(self, name: str) -> None:
        """Remove a named volume's data; idempotent, and goes on where a removal was cut off.

        Raises:
            RuntimeFailureError: a container uses it, or the disk refuses.
        """
        ...
