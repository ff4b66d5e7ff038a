"""Starting conmon, which makes the container, keeps its output, and outlives the agent.

conmon leaves its caller at once and works on in a session of its own. What became of the container
comes back through a pipe, the sync pipe.

Source: containers/conmon, conmon.c and ctr_logging.c.
"""

import asyncio
import os
from pathlib import Path
from typing import Final

import msgspec

from node_agent import process
from node_agent.oci.files import Files
from node_agent.oci.host import Programs
from shared.errors import RuntimeFailureError
from shared.model import Workload

CREATE_S: Final = 30.0
# conmon begins the file anew when it is full, so this is both the most that a container's log takes
# and the most that `logs` can show.
LOG_BYTES_MAX: Final = 16 * 1024 * 1024
_ANSWER_BYTES_MAX: Final = 64 * 1024


class _Answer(msgspec.Struct, frozen=True):
    """conmon's one line: the container's process id, or something negative and why."""

    data: int
    message: str = ""


async def create(programs: Programs, files: Files, workload: Workload) -> int:
    """Make the container of a bundle; it waits to be started. Return its first process's id.

    When cancelled, conmon works on: the caller finds a half-made container and removes it.

    Raises:
        RuntimeFailureError: with crun's own last line.
    """
    read_fd, write_fd = os.pipe()
    errors = files.bundle / "conmon.err"
    try:
        with errors.open("wb") as stderr:
            try:
                keeper = await asyncio.create_subprocess_exec(
                    *_arguments(programs, files, workload),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=stderr,
                    pass_fds=(write_fd,),
                    # It leaves a file named oom where it stands when the kernel ends the container.
                    cwd=files.bundle,
                    env=process.child_environment({"_OCI_SYNCPIPE": str(write_fd)}),
                )
            finally:
                os.close(write_fd)
        try:
            async with asyncio.timeout(CREATE_S):
                line = await _read_line(read_fd)
        finally:
            await keeper.wait()
    except TimeoutError as error:
        raise RuntimeFailureError(f"{files.id}: not created within {CREATE_S:.0f} s") from error
    finally:
        os.close(read_fd)
    return _pid(files.id, line, errors)


def _arguments(programs: Programs, files: Files, workload: Workload) -> tuple[str, ...]:
    return (
        programs.conmon,
        *("--api-version", "1", "--cid", files.id, "--cuuid", files.id, "--name", files.id),
        *("--runtime", programs.runtime, "--runtime-arg", f"--root={files.runtime_root}"),
        *("--bundle", str(files.bundle), "--full-attach", "--exit-dir", str(files.exit_dir)),
        *("--container-pidfile", str(files.pid_file)),
        *("--conmon-pidfile", str(files.conmon_pid_file)),
        *("--log-path", f"k8s-file:{files.log}", "--log-size-max", str(LOG_BYTES_MAX)),
        *("--log-level", "error", "--no-sync-log"),
        *(["--terminal"] if workload.tty else []),
        *(["--stdin", "--leave-stdin-open"] if workload.stdin else []),
    )


def _pid(id_: str, line: bytes, errors: Path) -> int:
    """Return the process id in conmon's answer, or raise what it says instead."""
    if not line:
        said = errors.read_text(errors="replace").strip().splitlines()
        raise RuntimeFailureError(f"{id_}: conmon: {said[-1] if said else 'ended without a word'}")
    try:
        answer = msgspec.json.decode(line, type=_Answer)
    except msgspec.DecodeError as error:
        raise RuntimeFailureError(f"{id_}: conmon answered {line[:200]!r}") from error
    if answer.data <= 0:
        words = [text.strip() for text in answer.message.splitlines() if text.strip()]
        raise RuntimeFailureError(f"{id_}: {words[-1] if words else 'the runtime gave no reason'}")
    return answer.data


async def _read_line(fd: int) -> bytes:
    """Return what comes through the pipe up to the end of a line or of the pipe."""
    loop = asyncio.get_running_loop()
    os.set_blocking(fd, False)
    ready = asyncio.Event()
    loop.add_reader(fd, ready.set)
    received = b""
    try:
        while b"\n" not in received and len(received) < _ANSWER_BYTES_MAX:
            await ready.wait()
            ready.clear()
            chunk = os.read(fd, 4096)
            if not chunk:
                break
            received += chunk
    finally:
        loop.remove_reader(fd)
    return received.partition(b"\n")[0]
