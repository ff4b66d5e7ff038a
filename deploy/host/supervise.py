"""`hafen serve`: check the host, run its parts, start again what ends, stop them on SIGTERM.

What must outlive this process (containers, conmon, HAProxy) is started by the agent in sessions
of its own and is never touched here. The parts themselves must not outlive it, or two of each would
run after a restart: the kernel kills them when this process dies, however it dies (see `_tether`).
"""

import asyncio
import datetime as dt
import fcntl
import os
import random
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog

from deploy.host.checks import acme_problems, check_host, port_problems
from deploy.host.parts import Part, Restart, etcd_dir, parts_of, restart_after
from deploy.host.poll import until
from shared import log
from shared import settings as settings_file
from shared.errors import HostError

_log = structlog.get_logger()

# The kernel closes the ports of parts that a killed supervisor left behind within milliseconds.
_LEFTOVER_S: Final = 3.0
# After SIGKILL only the kernel can still hold a process, for as long as its disk takes.
_KILL_S: Final = 10.0


async def run_host(config: Path) -> None:
    """Run this host until SIGTERM or SIGINT.

    Args:
        config: the host's settings, /etc/hafen/hafen.toml by default.

    Raises:
        SettingsError: the file is wrong.
        HostError: the host lacks something, or `hafen serve` runs already.
    """
    settings = settings_file.load(config)
    log.set_up(node=settings.node, part="run")
    with only_one(settings.run_dir):
        # Not yet is no error: `check_host` says which ports are still taken, and by whom.
        await until(lambda: not port_problems(settings), _LEFTOVER_S)
        check_host(settings, now=dt.datetime.now(dt.UTC))
        for problem in acme_problems(settings.acme):
            _log.error("setting_wrong", reason=problem)
        if settings.member is not None:
            etcd_dir(settings).mkdir(mode=0o700, parents=True, exist_ok=True)
        await supervise(parts_of(settings, config))


@contextmanager
def only_one(run_dir: Path) -> Iterator[None]:
    """Hold this host's lock; the kernel frees it when the process ends, even by SIGKILL.

    Raises:
        HostError: another `hafen serve` holds it; names its pid.
    """
    run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
    path = run_dir / "run.lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            pid = file.read().strip() or "unknown"
            raise HostError(f"`hafen serve` runs on this host already (pid {pid})") from error
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


async def supervise(parts: Sequence[Part], *, rng: random.Random | None = None) -> None:
    """Run `parts` until SIGTERM or SIGINT, then stop them in the opposite order."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked.set)
    kept = [_Kept(part, rng or random.Random()) for part in parts]  # noqa: S311 - spreads restarts, guards nothing
    try:
        async with asyncio.TaskGroup() as group:
            for each in kept:
                group.create_task(each.keep(), name=each.part.name)
            await asked.wait()
            _log.info("stopping", parts=[part.name for part in reversed(parts)])
            for each in reversed(kept):
                await each.stop()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


class _Kept:
    """One part that is kept running until `stop`. At most one process of it exists at any time."""

    def __init__(self, part: Part, rng: random.Random) -> None:
        self.part = part
        self._rng = rng
        self._process: Process | None = None
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()

    async def keep(self) -> None:
        """Start the part whenever it is not running; return after `stop`."""
        attempt = 0
        try:
            while not self._stopping.is_set():
                began_s = asyncio.get_running_loop().time()
                exit_code = await self._run_once()
                ran_s = asyncio.get_running_loop().time() - began_s
                if self._stopping.is_set():
                    return
                restart = restart_after(attempt, ran_s, self._rng)
                attempt = restart.attempt
                await self._wait(restart, exit_code, ran_s)
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """Ask the part to end, kill it past its time, return when it is gone."""
        self._stopping.set()
        try:
            async with asyncio.timeout(self.part.stop_s):
                self._signal(signal.SIGTERM)
                await self._ended.wait()
        except TimeoutError:
            _log.warning("part_killed", child=self.part.name, after_s=self.part.stop_s)
            self._signal(signal.SIGKILL)
            async with asyncio.timeout(_KILL_S):
                await self._ended.wait()

    async def _run_once(self) -> int:
        """Run one process to its end; a cancelled caller leaves none behind."""
        process = await asyncio.create_subprocess_exec(*_tether(self.part.argv), stdin=DEVNULL)
        self._process = process
        _log.info("part_started", child=self.part.name, pid=process.pid)
        if self._stopping.is_set():
            # `stop` came while the process was being made and found none to signal.
            self._signal(signal.SIGTERM)
        try:
            return await process.wait()
        finally:
            # Only a cancelled wait finds it alive; the kernel has it gone in no time.
            self._signal(signal.SIGKILL)
            await process.wait()
            self._process = None

    async def _wait(self, restart: Restart, exit_code: int, ran_s: float) -> None:
        _log.error(
            "part_ended",
            child=self.part.name,
            exit_code=exit_code,
            ran_s=round(ran_s, 1),
            attempt=restart.attempt,
            again_in_s=round(restart.wait_s, 2),
        )
        try:
            async with asyncio.timeout(restart.wait_s):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)


def _tether(argv: tuple[str, ...]) -> tuple[str, ...]:
    """Return `argv` so run that the kernel kills it when this process ends.

    setpriv asks for that, after the fork, as a program of its own: Python code must not run there,
    other threads may hold locks. A supervisor that is killed before setpriv has asked leaves one
    orphan, which keeps its port; the next supervisor's port check names it.
    """
    return ("setpriv", "--pdeathsig", "KILL", "--", *argv)
