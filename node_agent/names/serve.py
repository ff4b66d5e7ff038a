"""The name server's process: it begins as root, takes its address, and is nobody from then on.

It is a process of its own so that names are there while no agent is: the agent starts it and tells
it everything over a Unix socket, and it answers from what it was told last. A successor, which has
newer code or was started because this one did not answer, asks it to end.
"""

import argparse
import asyncio
import contextlib
import ctypes
import fcntl
import gc
import os
import resource
import signal
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import dns.rdata
import msgspec
import structlog

from node_agent.names.build import build
from node_agent.names.resolvers import HostServers
from node_agent.names.server import Datagrams, Server, bound
from node_agent.names.snapshot import SNAPSHOT, SOCKET, Word
from node_agent.names.telling import Listener
from shared import log
from shared.errors import CodecError, HostError

_log = structlog.get_logger()

PORT: Final = 53
_LOCK: Final = "names.lock"
_DISCARD: Final = 9
# 200 nodes with 100 containers each take some 4 MB.
SNAPSHOT_BYTES_MAX: Final = 64 * 1024 * 1024
# Debian's user without rights, whom no file belongs to.
_NOBODY: Final = 65534
_BIND_AGAIN_S: Final = 1.0
# Of a predecessor, for what it has asked others and not heard yet.
_LEAVE_S: Final = 2.0
_TALK_S: Final = 5.0
_LOCK_S: Final = 5.0
_LOCK_POLL_S: Final = 0.05
# Sockets of questions under way, of connections, and some more.
_DESCRIPTORS: Final = 2048
_OBJECTS: Final = 100_000
_QUEUE_BYTES: Final = 1024 * 1024
# Every container waits for it, and it never works for long: containers on a busy host go after it.
_NICE: Final = -5
_PR_SET_NO_NEW_PRIVS: Final = 38


class Process:
    """One name server.

    Args:
        own: the address to answer at.
        folder: where its socket and its snapshot are.
    """

    def __init__(self, own: str, folder: Path) -> None:
        self._own, self._folder = own, folder
        self._host = HostServers(own)
        self._told, self._serves = "", False
        self._listener = Listener()
        self._problems: dict[str, str] = {}

    async def run(self) -> None:
        """Serve until SIGTERM; then answer what was asked already, and end."""
        ended = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        async with asyncio.TaskGroup() as group:
            self._server = Server(self._own, self._host)
            self._restore()
            serving = group.create_task(self._serve(group))
            await ended.wait()
            serving.cancel()

    async def _serve(self, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        path = self._folder / SOCKET
        with alone(self._folder / _LOCK):
            before = _Before(path)
            talking = await asyncio.start_unix_server(self._talk, sock=_fresh(path))
            udp = await self._bound(socket.SOCK_DGRAM)
            tcp = await self._bound(socket.SOCK_STREAM)
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _QUEUE_BYTES)
            become_nobody()  # The one before is nobody as well: that is right enough to end it.
            await loop.create_datagram_endpoint(lambda: Datagrams(self._server, group), sock=udp)
            connections = await asyncio.start_server(self._server.connected, sock=tcp, backlog=128)
            _log.info("names_served", address=self._own, told=self._told)
            # Not earlier: until here every question had somebody to answer it.
            await before.end()
        self._serves = True
        async with talking, connections:
            try:
                await loop.create_future()
            finally:
                # What is new goes to the successor, which has the address as well: the kernel
                # gives a socket with a peer only what its peer sends. Answers still leave by it.
                with contextlib.suppress(OSError):
                    udp.connect((self._own, _DISCARD))

    async def _bound(self, kind: socket.SocketKind) -> socket.socket:
        """Return a bound socket, sooner or later; meanwhile it is a problem that the agent sees."""
        protocol = "UDP" if kind is socket.SOCK_DGRAM else "TCP"
        while True:
            try:
                found = bound(kind, self._own, PORT)
            except OSError as error:
                self._problems[protocol] = (
                    f"names: cannot listen on {self._own}:{PORT} ({protocol}): {error.strerror};"
                    f" containers have no DNS until the program that does lets go"
                )
                await asyncio.sleep(_BIND_AGAIN_S)
            else:
                self._problems.pop(protocol, None)
                return found

    # ------------------------------------------------------------ what it is told

    def _restore(self) -> None:
        """Take what the agent had told the one before; without, everybody is a stranger."""
        path = self._folder / SNAPSHOT
        with contextlib.suppress(FileNotFoundError):
            self._take(path.read_bytes(), str(path))

    def _take(self, wire: bytes, where: str) -> None:
        try:
            heard = self._listener.hear(wire, where)
            if heard is None:
                return  # The agent sees that it is not told, and tells all of it.
            digest, snapshot = heard
            self._server.take(snapshot)
        except (CodecError, ValueError) as error:
            self._problems["snapshot"] = f"names: {error}; what was told before stays true"
            _log.error("snapshot_unreadable", reason=str(error))
        else:
            self._told = digest
            self._problems.pop("snapshot", None)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a snapshot, if one is sent, and say how things are."""
        try:
            async with asyncio.timeout(_TALK_S):
                wire = await _all_of(reader)
                if wire:
                    self._take(wire, "the agent's snapshot")
                writer.write(msgspec.json.encode(self._word()))
                await writer.drain()
        except (OSError, TimeoutError, EOFError) as error:
            _log.warning("agent_hung_up", reason=str(error))
        finally:
            writer.close()

    def _word(self) -> Word:
        return Word(
            build=build(),
            serves=self._serves,
            told=self._told,
            problems=tuple(
                text for _, text in sorted({**self._problems, **self._host.problems}.items())
            ),
            counts=dict(sorted(self._server.counts.items())),
        )


@contextlib.contextmanager
def alone(path: Path, wait_s: float = _LOCK_S) -> Iterator[None]:
    """Hold back others that begin: of two at once, the later one must see the earlier one serve.

    Raises:
        HostError: another one has been beginning for too long.
    """
    with path.open("a") as file:
        until_s = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until_s:
                    raise HostError(f"{path}: held by a name server that begins") from None
                time.sleep(_LOCK_POLL_S)
        yield


class _Before:
    """The process that serves already, if there is one; known by who listens, not by a number."""

    def __init__(self, path: Path) -> None:
        self._descriptor = -1
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(str(path))
            peer = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            pid, _, _ = struct.unpack("3i", peer)
            self._descriptor = os.pidfd_open(pid)

    async def end(self) -> None:
        """Ask it to end; kill it if it does not, as one that stands still would not."""
        if self._descriptor < 0:
            return
        loop, gone = asyncio.get_running_loop(), asyncio.Event()
        loop.add_reader(self._descriptor, gone.set)
        try:
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(ProcessLookupError, TimeoutError):
                    signal.pidfd_send_signal(self._descriptor, number)
                    async with asyncio.timeout(_LEAVE_S):
                        await gone.wait()
                    return
        finally:
            loop.remove_reader(self._descriptor)
            os.close(self._descriptor)


def _fresh(path: Path) -> socket.socket:
    """Return a Unix socket in the place of the one before, for root alone."""
    found = socket.socket(socket.AF_UNIX)
    found.setblocking(False)  # noqa: FBT003 - the standard library's
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    found.bind(str(beside))
    beside.chmod(0o600)
    found.listen(16)
    beside.replace(path)
    return found


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await reader.read(SNAPSHOT_BYTES_MAX):
        parts.append(part)
        size += len(part)
        if size > SNAPSHOT_BYTES_MAX:
            raise EOFError(f"more than {SNAPSHOT_BYTES_MAX} bytes")
    return b"".join(parts)


def become_nobody() -> None:
    """Give up all rights, for ever: what comes over the network is read by nobody's hands."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _DESCRIPTORS if hard < 0 else min(_DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, 0, _NICE)
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)


def prepare() -> None:
    """Do what a process can do once, and nobody perhaps never."""
    # Where nobody may not read the library, what is loaded later is not there, and a record whose
    # names are pointers into another message would be passed on as it is.
    dns.rdata.load_all_types()  # type: ignore[no-untyped-call]
    # A snapshot of 5,000 replicas makes so many objects at once, none of them in a circle; looking
    # for circles after each 700, as Python does by itself, takes three times as long as reading it.
    gc.set_threshold(_OBJECTS)


def main() -> None:
    """Run one from the command line; the agent does."""
    parser = argparse.ArgumentParser(prog="names")
    parser.add_argument("--address", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    log.set_up(part="names", level="info")
    prepare()
    asyncio.run(Process(arguments.address, arguments.folder).run())
