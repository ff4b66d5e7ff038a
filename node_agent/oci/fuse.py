"""Exclusive containers end by the kernel at a moment that only a living agent moves on.

Each has a fuse, two processes of fuse_main.py, which outlive the agent as conmon does. They are
found again by their command line and by the socket in the container's bundle.
"""

import os
import signal
import socket
import sys
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from node_agent import process
from node_agent.oci.files import Files
from shared.clock import Clock
from shared.errors import FuseBurntError, RuntimeFailureError
from shared.model import AllocId

_log = structlog.get_logger()

_PROGRAM: Final = str(Path(__file__).parent / "fuse_main.py")
_LIGHT_S: Final = 5.0
_SECOND_NS: Final = 1_000_000_000


class Fuse(NamedTuple):
    """The process that has the timer, and process 1 of the pid namespace that dies with it."""

    pid: int
    init_pid: int

    @property
    def namespace(self) -> str:
        """Return the pid namespace for the container; "": one of its own."""
        return f"/proc/{self.init_pid}/ns/pid" if self.init_pid else ""


NO_FUSE: Final = Fuse(0, 0)


class Fuses:
    """The fuses of this node: one moment for all.

    Args:
        run: the directory with the bundles. The fuses in it keep the moment that they have.
        clock: whose boot clock says whether the moment has passed.
    """

    def __init__(self, run: Path, clock: Clock) -> None:
        self._clock = clock
        self._until_s = 0.0
        # Connected: it cannot reach anybody but the one fuse, and when that is gone it says so.
        self._sockets: dict[str, socket.socket] = {}
        self._deaf: set[str] = set()
        for sock in run.glob("*/fuse.sock"):
            self._connect(sock.parent)

    def close(self) -> None:
        """Let go of the fuses; they burn on."""
        for name in tuple(self._sockets):
            self.forget(name)

    def forget(self, name: str) -> None:
        """Let go of one fuse."""
        self._deaf.discard(name)
        sock = self._sockets.pop(name, None)
        if sock is not None:
            sock.close()

    def keep_until(self, boot_s: float) -> None:
        """Move the moment on, for all that there are and all that come; never back."""
        if boot_s <= self._until_s:
            return
        self._until_s = boot_s
        for name in tuple(self._sockets):
            self._send(name)

    def check(self, id_: AllocId) -> None:
        """Refuse an exclusive container that could not live.

        Raises:
            FuseBurntError: the moment is past, or was never told.
        """
        if self._until_s <= self._clock.boot_s():
            raise FuseBurntError(
                f"{id_}: fenced: exclusive, and this node cannot tell that it may still run it"
            )

    async def light(self, files: Files) -> Fuse:
        """Make a fuse for a container that is being made. When cancelled, it burns by itself.

        Raises:
            RuntimeFailureError: with the last line of what it said.
        """
        argv = (sys.executable, "-I", "-S", _PROGRAM, str(files.bundle), str(_ns(self._until_s)))
        try:
            done = await process.run(*argv, deadline_s=_LIGHT_S)
        except TimeoutError as error:
            raise RuntimeFailureError(f"{files.id}: no fuse within {_LIGHT_S:.0f} s") from error
        words = done.output.split()
        if len(words) != len(Fuse._fields):
            raise RuntimeFailureError(f"{files.id}: fuse: {done.last_line()}")
        self.forget(files.id)
        self._connect(files.bundle)
        self._send(files.id)  # the moment may have moved meanwhile
        return Fuse(*map(int, words))

    def _connect(self, bundle: Path) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        # Through a descriptor: the path of a socket may have no more than 108 characters.
        directory = os.open(bundle, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sock.connect(f"/proc/self/fd/{directory}/fuse.sock")
        except OSError:  # burnt already
            sock.close()
        else:
            self._sockets[bundle.name] = sock
        finally:
            os.close(directory)

    def _send(self, name: str) -> None:
        sock = self._sockets.get(name)
        if sock is None:
            return
        try:
            sock.send(_ns(self._until_s).to_bytes(8, sys.byteorder))
            self._deaf.discard(name)
        except BlockingIOError:
            # It has not run for many moments. The next one may reach it; if none does, it burns.
            if name not in self._deaf:
                _log.warning("fuse_does_not_listen", allocation=name)
            self._deaf.add(name)
        except OSError:  # it is burnt
            self.forget(name)


def is_fuse(files: Files, pid: int) -> bool:
    """Say whether process `pid` is one of this container's fuses'."""
    arguments = process.arguments_of(pid)
    return _PROGRAM in arguments and str(files.bundle) in arguments


def burn(files: Files, pid: int) -> None:
    """End a fuse now; the kernel ends all that it holds."""
    process.send(pid, signal.SIGKILL, partial(is_fuse, files, pid))


async def burnt(files: Files) -> None:
    """End all fuses of a container and return when they have ended. Safe to cancel.

    One that was already ending may end later: the container's cgroup says whether anything lives.
    """
    pids = [pid for pid in process.all_pids() if is_fuse(files, pid)]
    for pid in pids:
        burn(files, pid)
    for pid in pids:
        await process.ended(pid, partial(is_fuse, files, pid))


def _ns(seconds: float) -> int:
    return int(seconds * _SECOND_NS)
