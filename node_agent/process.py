"""Processes: running one with a deadline, starting one that outlives us, and knowing when it ended.

Ends are told by the kernel through pidfds on the event loop; only what begins to answer is polled.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, TypeVar

T = TypeVar("T")

# What programs may need of our environment; tokens that we were started with stay here.
_INHERITED: Final = (
    "PATH",
    "HOME",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "XDG_RUNTIME_DIR",
)
# What has just been started answers within some tens of these.
_LOOK_S: Final = 0.02
_DEAD_STATES: Final = frozenset("ZX")


class Completed(NamedTuple):
    """How a program ended; a negative code is the signal that ended it."""

    code: int
    output: str
    errors: str

    def last_line(self) -> str:
        """Return the program's own last word about what went wrong."""
        lines = [line.strip() for line in (self.errors or self.output).splitlines() if line.strip()]
        return lines[-1] if lines else f"exit code {self.code}"


def child_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for programs that we start."""
    kept = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {**kept, "LC_ALL": "C", **(extra or {})}


async def run(*argv: str, deadline_s: float, given: str = "") -> Completed:
    """Run a program to its end and return what it said.

    Safe to cancel: the program is killed and reaped.

    Args:
        argv: the program and its arguments.
        deadline_s: then it is killed.
        given: what it reads.

    Raises:
        TimeoutError: it was still running after `deadline_s`; it has been killed.
    """
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.PIPE if given else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=child_environment(),
    )
    try:
        async with asyncio.timeout(deadline_s):
            output, errors = await process.communicate(given.encode() if given else None)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode is not None, "communicate() returns after the end"
    return Completed(process.returncode, _text(output), _text(errors))


async def start_apart(*argv: str, output: BinaryIO) -> None:
    """Start a program in a session of its own, re-parented: it lives on when this agent ends."""
    started = await asyncio.create_subprocess_exec(
        *("setsid", "--fork", *argv),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=output,
        stderr=output,
    )
    await started.wait()


async def soon(look: Callable[[], Awaitable[T | None]], within_s: float) -> T | None:
    """Return what `look` finds as soon as it finds something; None: not within `within_s`."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within_s
    while not (found := await look()):
        if loop.time() > deadline:
            return None
        await asyncio.sleep(_LOOK_S)
    return found


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def is_alive(pid: int) -> bool:
    """Say whether the process exists and has not ended; a zombie has."""
    return _stat(pid, 0) not in {"", *_DEAD_STATES}


def session_of(pid: int) -> int:
    """Return the process's session id, 0 if there is no such process."""
    return int(_stat(pid, 3) or 0)


def _stat(pid: int, field: int) -> str:
    """Return a field of /proc/<pid>/stat, counted from the state; empty without such a process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The program's name stands in parentheses and may contain anything: begin after the last.
    return text.rpartition(")")[2].split()[field]


def arguments_of(pid: int) -> tuple[str, ...]:
    """Return the process's command line; empty for a zombie and without such a process."""
    try:
        data = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(word.decode(errors="replace") for word in data.split(b"\0")[:-1])


def read_pid(file: Path) -> int | None:
    """Return the number in a pid file, or None if there is none (yet)."""
    try:
        text = file.read_text().strip()
    except FileNotFoundError:
        return None
    return int(text) if text.isdigit() else None


def open_pidfd(pid: int, is_it: Callable[[], bool]) -> int | None:
    """Return a descriptor of a living process, or None.

    `is_it` is asked after the descriptor is open: then the id cannot pass to another process.
    """
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return None
    if is_it() and is_alive(pid):
        return fd
    os.close(fd)
    return None


def send(pid: int, number: int, is_it: Callable[[], bool]) -> bool:
    """Send a signal to a process if it still is the one we mean; say whether it was sent."""
    fd = open_pidfd(pid, is_it)
    if fd is None:
        return False
    try:
        signal.pidfd_send_signal(fd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(fd)
    return True


async def ended(pid: int, is_it: Callable[[], bool]) -> None:
    """Return when the process has ended; at once if it is not the one we mean. Safe to cancel."""
    fd = open_pidfd(pid, is_it)
    if fd is None:
        return
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(fd, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(fd)
        os.close(fd)


class ExitWatch:
    """Calls back when watched processes end. One per key; watching it again changes nothing."""

    def __init__(self, callback: Callable[[str], None]) -> None:
        self._callback = callback
        self._fds: dict[str, int] = {}

    def watch(self, key: str, pid: int, is_it: Callable[[], bool]) -> bool:
        """Begin to watch `pid` under `key`; False if it is not there and nobody will be called."""
        if key in self._fds:
            return True
        fd = open_pidfd(pid, is_it)
        if fd is None:
            return False
        self._fds[key] = fd
        asyncio.get_running_loop().add_reader(fd, self._over, key)
        return True

    def watches(self, key: str) -> bool:
        """Say whether somebody will be called for `key`."""
        return key in self._fds

    def forget(self, key: str) -> None:
        """Stop watching."""
        fd = self._fds.pop(key, None)
        if fd is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody watches any more
                asyncio.get_running_loop().remove_reader(fd)
            os.close(fd)

    def close(self) -> None:
        """Stop watching everything; the processes go on."""
        for key in tuple(self._fds):
            self.forget(key)

    def _over(self, key: str) -> None:
        self.forget(key)
        self._callback(key)


def all_pids() -> tuple[int, ...]:
    """Return every process id of this pid namespace."""
    return tuple(sorted(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()))


def running(is_ours: Callable[[tuple[str, ...]], bool]) -> tuple[int, ...]:
    """Return the living processes of this network namespace whose command line is ours.

    A lab's hosts have the same paths as the machine that it runs on, and other networks.
    """
    here = _network_of("self")
    return tuple(
        pid
        for pid in all_pids()
        if is_ours(arguments_of(pid)) and is_alive(pid) and _network_of(pid) == here
    )


def _network_of(pid: int | str) -> int:
    """Return the number of a process's network namespace; 0: there is no such process."""
    try:
        return Path(f"/proc/{pid}/ns/net").stat().st_ino
    except OSError:
        return 0
