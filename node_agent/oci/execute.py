"""Running a command inside a container; its deadline ends the command, not only our client."""

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import AsyncGenerator
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from node_agent import process
from node_agent.oci import spec
from node_agent.oci.cgroups import Cgroups
from node_agent.oci.files import Files, write_file
from node_agent.runtime import ExecResult
from shared.errors import RuntimeFailureError

EXIT_TIMEOUT: Final = 124  # as timeout(1) has it
_OUTPUT_BYTES_MAX: Final = 4096
# The command has ended, but something that it left behind may hold the pipe open.
_DRAIN_S: Final = 0.1
_NOTICE_S: Final = 1.0


class _Config(msgspec.Struct, frozen=True):
    """What of a config.json matters here."""

    process: spec.Process


class _Tail(asyncio.Protocol):
    """Keeps the end of what comes through a pipe."""

    def __init__(self) -> None:
        self.data = b""
        self.closed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        self.data = (self.data + data)[-_OUTPUT_BYTES_MAX:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nobody writes any more."""
        del exc  # a broken pipe is an end like any other
        self.closed.set()


async def execute(
    runtime: str, files: Files, cgroups: Cgroups, argv: tuple[str, ...], timeout_s: float
) -> ExecResult:
    """Run `argv` in a running container and return how it ended.

    It is who the container's first process is, and may do what that may. Safe to cancel: the
    command is killed then, too.

    Raises:
        RuntimeFailureError: the container is just being removed.
    """
    name = f"exec-{secrets.token_hex(6)}"
    pid_file, process_file = files.bundle / f"{name}.pid", files.bundle / f"{name}.json"
    _write_process(files, argv, process_file)
    async with _tail() as (tail, write_fd):
        try:
            client = await asyncio.create_subprocess_exec(
                *(runtime, f"--root={files.runtime_root}", "exec"),
                *("--process", str(process_file), "--pid-file", str(pid_file), files.id),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=write_fd,
                stderr=write_fd,
                env=process.child_environment(),
            )
        finally:
            os.close(write_fd)
        timed_out = False
        try:
            async with asyncio.timeout(timeout_s):
                await client.wait()
        except TimeoutError:
            timed_out = True
        finally:
            if client.returncode is None:
                _kill(files, cgroups, process.read_pid(pid_file))
                await _reaped(client)
            pid_file.unlink(missing_ok=True)
            process_file.unlink(missing_ok=True)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_S):
                await tail.closed.wait()
    assert client.returncode is not None, "wait() returns after the end"
    return ExecResult(_exit_code(client.returncode, timed_out=timed_out), _text(tail.data))


def _write_process(files: Files, argv: tuple[str, ...], file: Path) -> None:
    """Write the first process's description with other arguments: crun's own would be root."""
    try:
        first = msgspec.json.decode(files.config.read_bytes(), type=_Config).process
        command = msgspec.structs.replace(first, args=argv, terminal=False)
        # The environment may hold secrets: for root only.
        write_file(file, msgspec.json.encode(command), 0o600)
    except FileNotFoundError as error:
        raise RuntimeFailureError(f"{files.id}: is just being removed") from error


async def _reaped(client: asyncio.subprocess.Process) -> None:
    """Let the client notice that its command was killed; kill it only if it does not.

    The command is the client's child. Without the client it would stay a zombie until the host's
    init finds it, and until then the container, whose namespace it is in, could not end.
    """
    try:
        async with asyncio.timeout(_NOTICE_S):
            await client.wait()
    except TimeoutError:
        client.kill()
        await client.wait()


def _exit_code(code: int, *, timed_out: bool) -> int:
    if timed_out:
        return EXIT_TIMEOUT
    return code if code >= 0 else 128 - code


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


@contextlib.asynccontextmanager
async def _tail() -> AsyncGenerator[tuple[_Tail, int], None]:
    """Give a pipe's writing end, which the body closes, and the tail of what comes through it."""
    read_fd, write_fd = os.pipe()
    # The transport closes the reading end.
    reader = os.fdopen(read_fd, "rb", buffering=0)
    transport, tail = await asyncio.get_running_loop().connect_read_pipe(_Tail, reader)
    try:
        yield tail, write_fd
    finally:
        transport.close()


def _kill(files: Files, cgroups: Cgroups, pid: int | None) -> None:
    """End a command and all that it started: they share a session in the container's cgroup."""
    if pid is None or not cgroups.holds(files.id, pid):
        return
    session = process.session_of(pid)
    for member in cgroups.pids(files.id):
        if member == pid or process.session_of(member) == session:
            process.send(member, signal.SIGKILL, partial(cgroups.holds, files.id, member))
