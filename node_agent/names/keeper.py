"""The agent's side of the name server: starts it, tells it what is true, replaces an old one."""

import asyncio
import signal
import socket
import struct
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import structlog

from node_agent import process
from node_agent.names.build import build
from node_agent.names.metrics import rendered
from node_agent.names.names import NamesStatus
from node_agent.names.snapshot import SNAPSHOT, SOCKET, Snapshot, Word
from node_agent.names.telling import NONE, Teller, Telling
from shared.errors import UnavailableError

_log = structlog.get_logger()

# It takes 5 ms to take 500 services; one that stands still is replaced.
_ANSWER_S: Final = 2.0
# Python takes a quarter of a second to begin, several times that on a host that has just booted.
_BEGIN_S: Final = 10.0
# What the kernel says of a peer: process, user, group.
_PEER: Final = struct.Struct("3i")


class NamesKeeper:
    """Implements Names with a process that lives on when the agent ends.

    Args:
        address: where it answers.
        run_dir: a folder that a reboot empties, as it ends the process.
    """

    def __init__(self, address: str, run_dir: Path) -> None:
        self._folder = run_dir / "names"
        self._argv = (
            *(sys.executable, "-m", "node_agent.names", "--address", address),
            *("--folder", str(self._folder)),
        )
        self._teller = Teller()
        self._telling: tuple[Snapshot, Telling] | None = None
        self._problems: tuple[str, ...] = ()
        # What it was told last, and the pieces that it has since.
        self._told, self._pieces = "", NONE

    async def apply(self, snapshot: Snapshot) -> NamesStatus:
        """Make it answer from `snapshot`; say what it cannot do."""
        telling, problems = self._written(snapshot)
        # One that was told nothing by us is looked at first: it may have other code.
        is_news = self._told and telling.digest != self._told
        word = await self._ask(telling.wire(self._pieces) if is_news else b"")
        if word is None or word.build != build():
            word = await self._begin(word)
        if word is not None and word.told != telling.digest:
            word = await self._ask(telling.wire())
        self._told = word.told if word is not None else ""
        self._pieces = telling.pieces.keys() if self._told == telling.digest else NONE
        if word is None:
            silent = f"names: the name server does not answer; see {self._log_file}"
            return NamesStatus((*problems, silent))
        return NamesStatus((*problems, *word.problems))

    async def metrics(self) -> str:
        """Return the name server's figures in Prometheus' format.

        Raises:
            UnavailableError: it does not answer.
        """
        word = await self._ask(b"")
        if word is None:
            raise UnavailableError("the name server shows no figures: it does not answer")
        return rendered(word.counts)

    @property
    def _log_file(self) -> Path:
        return self._folder / "names.log"

    def _written(self, snapshot: Snapshot) -> tuple[Telling, tuple[str, ...]]:
        """Return how to tell a snapshot, and why a process that begins lacks it."""
        if self._telling is None or self._telling[0] != snapshot or self._problems:
            self._telling = (snapshot, self._teller.of(snapshot))
            try:
                self._write(self._telling[1].wire())
                self._problems = ()
            except OSError as error:
                self._problems = (f"names: cannot write {error.filename}: {error.strerror}",)
        return self._telling[1], self._problems

    def _write(self, wire: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        beside = self._folder / f".{SNAPSHOT}.new"
        # Not forced to the disk: after a reboot the agent writes it anew before anybody asks.
        beside.touch(mode=0o600)
        beside.write_bytes(wire)
        beside.replace(self._folder / SNAPSHOT)

    async def _begin(self, before: Word | None) -> Word | None:
        """Start one in a session of its own; it asks the one before to end. Return its word.

        One whose socket somebody removed cannot be asked: it would answer beside the new one.
        """
        left = self._left()
        try:
            await self._start()
        except OSError as error:
            _log.error("names_not_started", reason=str(error))
            return None
        _log.info("names_started", before=before.build if before is not None else "")
        word = await process.soon(self._begun, _BEGIN_S)
        if word is not None and word.serves:
            self._end(left)
        return word

    async def _begun(self) -> Word | None:
        """Return the word of one of this build that has found out whether it can serve."""
        word = await self._ask(b"")
        if word is None or word.build != build():
            return None
        return word if word.serves or word.problems else None

    def _left(self) -> tuple[int, ...]:
        return process.running(self._is_ours)

    def _is_ours(self, arguments: tuple[str, ...]) -> bool:
        # Another version may have another Python.
        return arguments[1:] == self._argv[1:]

    def _end(self, left: Iterable[int]) -> None:
        """End those that served before and still do."""
        serving = self._serving()
        for pid in left if serving else ():
            if pid != serving and process.send(pid, signal.SIGTERM, partial(self._is, pid)):
                _log.info("names_ended", pid=pid)

    def _is(self, pid: int) -> bool:
        return self._is_ours(process.arguments_of(pid))

    def _serving(self) -> int:
        """Return the process that listens at the socket; 0: none does."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self._folder / SOCKET))
                peer = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
            except OSError:
                return 0
        pid: int = _PEER.unpack(peer)[0]
        return pid

    async def _start(self) -> None:
        with self._log_file.open("wb") as output:
            await process.start_apart(*self._argv, output=output)

    async def _ask(self, wire: bytes) -> Word | None:
        """Send a snapshot, or nothing, and return the process's word; None: it has none."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                reader, writer = await asyncio.open_unix_connection(self._folder / SOCKET)
                try:
                    writer.write(wire)
                    writer.write_eof()
                    return msgspec.json.decode(await reader.read(-1), type=Word)
                finally:
                    writer.close()
        except (OSError, TimeoutError, msgspec.DecodeError):
            return None
