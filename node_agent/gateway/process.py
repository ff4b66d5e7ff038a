"""The HAProxy process of a node: started so that it outlives us, adopted, reloaded, spoken to."""

import enum
import os
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Final

import structlog

from node_agent import process as processes
from node_agent.gateway import predecessors
from node_agent.gateway.asking import COMMAND_S, HaproxyError, SilentError, ask
from node_agent.gateway.commands import old_workers
from shared.files import write_atomically

_log = structlog.get_logger()

# A reload of 1,000 services takes about half a second.
_RELOAD_S: Final = 15.0
# Reading them is part of that; a hundred times as long.
_CHECK_S: Final = 60.0
# A filter of ss is a program of at most 64 KiB for the kernel.
_CUT_AT_ONCE: Final = 100
_SAID_BYTES: Final = 64 * 1024
# Questions in a row without an answer, COMMAND_S each. Ending it ends its connections, so that 15 s
# are a hundred times what a process waits for its turn where twenty want the processor.
_SILENCES_MAX: Final = 3
# It lies in memory.
OUTPUT_BYTES_MAX: Final = 8 * 1024 * 1024


class ConfigRefusedError(HaproxyError):
    """The configuration is wrong; it has not reached HAProxy."""


class Condition(enum.Enum):
    """What is known of HAProxy after a question to it."""

    RUNS = "runs"  # it answers
    GONE = "gone"  # nothing can be asked: it does not run, or a file of it is not there
    SILENT = "silent"  # it runs and has not answered: busy, or it stands still
    FROZEN = "frozen"  # it has not for so long that it must be ended


class Haproxy:
    """One HAProxy in master-worker mode, with its sockets and configuration in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.admin_socket = folder / "admin.sock"
        self.metrics_socket = folder / "metrics.sock"
        self._folder = folder
        self._master_socket = folder / "master.sock"
        self._master_word = f"{self._master_socket},mode,600"
        self._config = folder / "haproxy.cfg"
        self._candidate = folder / "haproxy.new"
        # What the candidate holds, if HAProxy has read it; empty: nothing.
        self._checked = ""
        self._silences = 0
        self.output = folder / "haproxy.log"
        self.older_output = folder / "haproxy.log.1"

    async def is_running(self) -> bool:
        """Say whether a worker answers, and all files are there that it needs for what comes."""
        return await self.look() is Condition.RUNS

    async def look(self) -> Condition:
        """Ask the worker; how often in a row it did not answer is remembered."""
        files = (self.admin_socket, self.metrics_socket, self._master_socket, self._config)
        condition = Condition.GONE
        if all(file.exists() for file in files):
            condition = await self._asked()
        self._silences = self._silences + 1 if condition is Condition.SILENT else 0
        return Condition.FROZEN if self._silences >= _SILENCES_MAX else condition

    async def _asked(self) -> Condition:
        try:
            await self.command("show version")
        except SilentError:
            return Condition.SILENT
        except HaproxyError:
            return Condition.GONE
        return Condition.RUNS

    def left(self) -> tuple[int, ...]:
        """Return the processes of this HAProxy, also those that nobody can speak to any more."""
        return processes.running(self._has_mark)

    def _has_mark(self, arguments: tuple[str, ...]) -> bool:
        return ("-S", self._master_word) in pairwise(arguments)

    def _is_ours(self, pid: int) -> bool:
        return self._has_mark(processes.arguments_of(pid))

    async def command(self, line: str) -> str:
        """Send one line to the worker and return its whole answer.

        Raises:
            HaproxyError: nothing answers.
        """
        return await ask(self.admin_socket, line)

    async def old_workers(self) -> tuple[int, ...]:
        """Return the workers that a reload has replaced and that still have requests in flight.

        Raises:
            HaproxyError: the master does not answer.
        """
        return old_workers(await ask(self._master_socket, "show proc"))

    async def command_to(self, worker: int, commands: str) -> str:
        """Send one line, commands separated by semicolons, to one worker; return its answers.

        Raises:
            HaproxyError: nothing answers.
        """
        addressed = "; ".join(f"@!{worker} {command}" for command in commands.split("; "))
        return await ask(self._master_socket, addressed)

    async def load(self, config: str) -> None:
        """Make a running HAProxy serve `config`, or start one; no connection is dropped.

        What it was the last to `check` is not read once more: the files that it names must not have
        changed since.

        Raises:
            ConfigRefusedError: it refuses the configuration; the one before stays in force.
            HaproxyError: it does not come up.
        """
        if config != self._checked:
            await self.check(config)
        self._checked = ""
        condition = Condition.FROZEN if self._silences >= _SILENCES_MAX else await self.look()
        self._candidate.replace(self._config)
        if condition is Condition.RUNS:
            await self._reload()
            return
        if condition is Condition.FROZEN:
            why = f"it answered none of {_SILENCES_MAX} questions in a row, {COMMAND_S:g} s each"
            await predecessors.end(self.left(), self._is_ours, why)
        await self._start()

    async def stop(self) -> None:
        """End HAProxy, connections included; idempotent."""
        pid = await self._master_pid()
        if pid is not None:
            processes.send(pid, signal.SIGTERM, lambda: self._is_ours(pid))
            _log.info("haproxy_stopped", pid=pid)
            await processes.soon(self._is_silent, COMMAND_S)

    async def check(self, config: str) -> None:
        """Let HAProxy read a configuration.

        Raises:
            ConfigRefusedError: it refuses it.
            HaproxyError: it has not come to an end with it.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._checked = ""
        write_atomically(self._candidate, config.encode())
        argv = ("haproxy", "-c", "-f", str(self._candidate))
        try:
            done = await processes.run(*argv, deadline_s=_CHECK_S)
        except TimeoutError as error:
            why = f"HAProxy has not read the configuration within {_CHECK_S:g} s"
            raise HaproxyError(why) from error
        if done.code != 0:
            said = _alert(done.errors or done.output)
            raise ConfigRefusedError(f"HAProxy refuses the configuration: {said}")
        self._checked = config

    async def _start(self) -> None:
        """Start it in a session of its own, re-parented: it lives on when this agent ends.

        One that runs and cannot be spoken to finishes its requests once the new one listens; it is
        killed if it goes on listening.
        """
        before = self.left()
        left = tuple(str(pid) for pid in before)
        for socket in (self.admin_socket, self.metrics_socket, self._master_socket):
            socket.unlink(missing_ok=True)
        # What was written of requests stays; it is appended to, so that it can be cut short.
        descriptor = os.open(self.output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as output:
            os.fchmod(descriptor, 0o600)  # Older agents made it for all to read.
            begun = output.seek(0, os.SEEK_END)
            await processes.start_apart(
                *("haproxy", "-W", "-S", self._master_word, "-f", str(self._config)),
                *(("-sf", *left) if left else ()),
                output=output,
            )
        if not await processes.soon(self._is_up, _RELOAD_S):
            raise HaproxyError(f"HAProxy did not start: {_alert(self._said(begun))}")
        _log.info("haproxy_started", replaced=left)
        await predecessors.until_left(before, self._is_ours)

    def _said(self, after: int = 0) -> str:
        """Return the end of what it has written of itself since the file had so many bytes."""
        try:
            with self.output.open("rb") as output:
                end = output.seek(0, os.SEEK_END)
                output.seek(max(end - _SAID_BYTES, min(after, end)))
                said = output.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        # Lines of requests, which begin so, say nothing of a start.
        return "\n".join(line for line in said.splitlines() if not line.startswith("{"))

    def rotate(self) -> None:
        """Keep what HAProxy writes within OUTPUT_BYTES_MAX, and as much again in a file beside.

        A line of the very moment in which the file is cut short may be lost.

        Raises:
            OSError: the folder is full.
        """
        try:
            if self.output.stat().st_size <= OUTPUT_BYTES_MAX:
                return
        except FileNotFoundError:
            return
        beside = self.older_output.with_name(f".{self.older_output.name}.new")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with self.output.open("rb") as held, os.fdopen(descriptor, "wb") as moved:
            # To the very end: what is written while this copies is copied, too.
            shutil.copyfileobj(held, moved)
            moved.flush()
            beside.replace(self.older_output)
            os.truncate(self.output, 0)

    async def _reload(self) -> None:
        before = await self._worker_pid()
        # The master closes the connection once it has taken the order, or answers when it is done.
        with suppress(HaproxyError):
            await ask(self._master_socket, "reload")

        async def is_new() -> bool:
            return await self._worker_pid() not in {None, before}

        if not await processes.soon(is_new, _RELOAD_S):
            raise HaproxyError(f"HAProxy did not reload: {_alert(self._said())}")
        _log.info("haproxy_reloaded")

    async def _worker_pid(self) -> int | None:
        try:
            info = await self.command("show info")
        except HaproxyError:
            return None
        pids = [line.removeprefix("Pid: ") for line in info.splitlines() if line.startswith("Pid:")]
        return int(pids[0]) if pids else None

    async def _master_pid(self) -> int | None:
        try:
            shown = await ask(self._master_socket, "show proc")
        except HaproxyError:
            return None
        rows = [line.split() for line in shown.splitlines()]
        return next((int(row[0]) for row in rows if len(row) > 1 and row[1] == "master"), None)

    async def _is_up(self) -> bool:
        # The worker may answer before the master does, which alone takes orders to reload and stop.
        return await self.is_running() and await self._master_pid() is not None

    async def _is_silent(self) -> bool:
        return not await self.is_running()


def _alert(said: str) -> str:
    """Return HAProxy's first alert, else its last line."""
    found = said.strip().splitlines() or ["it said nothing"]
    return next((line for line in found if "ALERT" in line), found[-1]).strip()


async def cut_connections(addresses: Sequence[str]) -> None:
    """End all connections of this network namespace to `addresses`: their requests go elsewhere.

    The kernel closes them as if reset by the peer: HAProxy replays what may be replayed, and the
    client notices nothing. Where the kernel cannot, HAProxy's own timers notice within about 2 s.
    """
    for first in range(0, len(addresses), _CUT_AT_ONCE):
        some = addresses[first : first + _CUT_AT_ONCE]
        filter_ = " or ".join(f"dst {one}" for one in some)
        try:
            done = await processes.run("ss", "-K", "-H", "-n", "-t", filter_, deadline_s=COMMAND_S)
        except TimeoutError:
            _log.warning("connections_not_cut", addresses=some, reason=f"not in {COMMAND_S:g} s")
            continue
        if done.code != 0:
            _log.warning("connections_not_cut", addresses=some, reason=done.last_line())
