"""What is true of a container right now, by its files, processes and cgroup; and how it ends.

Adoption needs nothing else: an agent that was just started knows as much as the one that made the
container.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Final

from node_agent import process
from node_agent.oci import fuse
from node_agent.oci.cgroups import Cgroups
from node_agent.oci.files import Files, Record
from node_agent.runtime import EXIT_UNKNOWN, Container, Phase
from shared.clock import Clock
from shared.errors import RuntimeFailureError

# After SIGKILL a process ends within milliseconds; one that does not hangs in the kernel.
KILL_S: Final = 10.0
_POLL_S: Final = 0.01
# conmon ends within milliseconds of its container, unless somebody else holds its output.
_CONMON_S: Final = 1.0


def is_conmon(files: Files, pid: int) -> bool:
    """Say whether process `pid` is this container's conmon."""
    program, *arguments = process.arguments_of(pid) or ("",)
    return Path(program).name == "conmon" and str(files.bundle) in arguments


def is_running(files: Files, record: Record, cgroups: Cgroups) -> bool:
    """Say whether the process that `record` names is alive.

    A newer one, made by an agent that crashed before it wrote the record, belongs to no whole
    container and does not count.
    """
    return cgroups.holds(files.id, record.pid) and process.is_alive(record.pid)


def is_left(files: Files, record: Record, cgroups: Cgroups) -> bool:
    """Say whether anything of an exclusive container lives.

    Its first process is not process 1 of its pid namespace: the others may live longer.
    """
    return record.assignment.workload.exclusive and bool(cgroups.pids(files.id))


def observe(files: Files, record: Record, cgroups: Cgroups) -> Container:
    """Return the container as it is.

    Between the end of its process and conmon's note of the exit code it still counts as running.
    So does an exclusive one while anything of it lives: elsewhere it may run once it has ended.
    """
    held_back = files.is_held_back
    started = record.run - 1 if held_back else record.run
    code = files.exit_code()
    keeper_works = code is None and is_conmon(files, record.conmon_pid)
    lives = is_running(files, record, cgroups) or is_left(files, record, cgroups)
    if lives or keeper_works:
        phase = Phase.CREATED if held_back else Phase.RUNNING
        return Container(
            assignment=record.assignment, phase=phase, address=record.address, started=started
        )
    code = EXIT_UNKNOWN if code is None else code
    return Container(
        assignment=record.assignment,
        phase=Phase.EXITED,
        address=record.address,
        started=started,
        exit_code=code,
        oom_killed=code != 0 and cgroups.oom_kills(files.id) > 0,
    )


async def gone(files: Files, record: Record, cgroups: Cgroups) -> None:
    """Return when the container has ended and conmon has noted how. Safe to cancel."""
    await process.ended(record.conmon_pid, partial(is_conmon, files, record.conmon_pid))
    await process.ended(record.pid, partial(is_running, files, record, cgroups))


async def extinguish(files: Files, cgroups: Cgroups, clock: Clock) -> None:
    """End an exclusive container's fuse and all that it holds. Idempotent.

    Raises:
        RuntimeFailureError: something is still alive after KILL_S.
    """
    async with _in_time(files, cgroups):
        await fuse.burnt(files)
        await _empty_cgroup(files, cgroups, clock)


async def end_rest(files: Files, cgroups: Cgroups, clock: Clock) -> None:
    """End whatever lives in a container's cgroup. Idempotent.

    Raises:
        RuntimeFailureError: something is still alive after KILL_S.
    """
    async with _in_time(files, cgroups):
        await _empty_cgroup(files, cgroups, clock)


async def kill_all(files: Files, cgroups: Cgroups, clock: Clock) -> None:
    """End every process of a container, half-made or whole, and remove its cgroup. Idempotent.

    The container's processes go first, so that conmon can note the exit code.

    Raises:
        RuntimeFailureError: something is still alive after KILL_S.
    """
    async with _in_time(files, cgroups):
        await _empty_cgroup(files, cgroups, clock)
        await _end_conmons(files)
        await fuse.burnt(files)
        # A half-made container's `crun create` may have put a process there meanwhile.
        await _empty_cgroup(files, cgroups, clock)
        while not cgroups.remove(files.id):
            await clock.sleep(_POLL_S)


@contextlib.asynccontextmanager
async def _in_time(files: Files, cgroups: Cgroups) -> AsyncGenerator[None, None]:
    try:
        async with asyncio.timeout(KILL_S):
            yield
    except TimeoutError as error:
        left = ", ".join(str(pid) for pid in sorted(cgroups.pids(files.id)))
        raise RuntimeFailureError(
            f"{files.id}: still there {KILL_S:.0f} s after SIGKILL: processes {left or 'none'}"
        ) from error


async def _empty_cgroup(files: Files, cgroups: Cgroups, clock: Clock) -> None:
    while pids := cgroups.pids(files.id):
        cgroups.thaw(files.id)
        for pid in pids:
            process.send(pid, signal.SIGKILL, partial(cgroups.holds, files.id, pid))
        await clock.sleep(_POLL_S)


async def _end_conmons(files: Files) -> None:
    """Let a whole container's conmon end by itself; end a half-made one's, and its `create`."""
    is_whole = files.read() is not None
    for pid in [pid for pid in process.all_pids() if is_conmon(files, pid)]:
        is_it = partial(is_conmon, files, pid)
        if is_whole:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CONMON_S):
                    await process.ended(pid, is_it)
        session = process.session_of(pid) if is_it() else 0
        for member in process.all_pids() if session else ():
            process.send(member, signal.SIGKILL, partial(_is_in, session, member))
        await process.ended(pid, is_it)


def _is_in(session: int, pid: int) -> bool:
    return process.session_of(pid) == session
