"""Programs of tests without the second that Python takes to import what they are made of.

`run` is `python -m MODULE WORDS`, from a process that has imported MODULE before and forks: a
process as ever, with its own words, environment, folder, namespaces, output and exit code.
"""

import atexit
import contextlib
import ctypes
import enum
import gc
import importlib
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[1]
_REQUEST_BYTES_MAX = 100_000  # below what one packet of a socket takes
_DESCRIPTORS = 3  # standard output, standard error, and where the end is told
# From the kernel's sched.h and mount.h.
_NEW_MOUNTS, _NEW_PIDS, _NEW_NETWORK = 0x20000, 0x20000000, 0x40000000
_PRIVATE, _NO_SUID_DEV_EXEC = 0x40000 | 0x4000, 2 | 4 | 8


class Apart(enum.IntEnum):
    """What a program has for itself."""

    NOTHING = 0
    NETWORK = 1  # and mounts
    # And processes: what it has started ends with it; whoever loses its parent is waited for.
    PROCESSES = 2


class _Request(msgspec.Struct, frozen=True):
    module: str
    words: tuple[str, ...]
    environment: Mapping[str, str]
    folder: str
    apart: Apart


def run(
    module: str,
    *words: str,
    within_s: float,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    apart: Apart = Apart.NOTHING,
) -> subprocess.CompletedProcess[str]:
    """Run a program; without more, in this process's environment and folder.

    Raises:
        TimeoutExpired: it was killed, it would not end.
    """
    environment = dict(environment or os.environ)
    request = _Request(module, words, environment, str(folder or Path.cwd()), apart)
    packet = msgspec.json.encode(request)
    assert len(packet) < _REQUEST_BYTES_MAX
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        told, tell = os.pipe()
        with os.fdopen(told, "rb", buffering=0) as end:
            try:
                socket.send_fds(_server(), [packet], [out.fileno(), err.fileno(), tell])
            finally:
                os.close(tell)
            pid = int(end.readline())
            if not select.select([end], [], [], within_s)[0]:
                os.kill(pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(words, within_s)
            code = int(end.readline())
        out.seek(0)
        err.seek(0)
        return subprocess.CompletedProcess(words, code, out.read(), err.read())


@cache
def _server() -> socket.socket:
    """Start the process that forks; it ends when this one has."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        number = theirs.fileno()
        argv = (sys.executable, "-m", "tests.forked", str(number))
        process = subprocess.Popen(argv, cwd=ROOT, pass_fds=(number,), stdin=subprocess.DEVNULL)

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait()

    return ours


def _serve(asked: socket.socket) -> _Request | None:
    """Fork for every request; return in the processes that are programs, and at the end."""
    # Nobody waits for those who wait for a program; the kernel does.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # Ctrl-C is for tests and programs: labs are taken down with this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        packet, descriptors, *_ = socket.recv_fds(asked, _REQUEST_BYTES_MAX, _DESCRIPTORS)
        if not packet:
            return None
        request = msgspec.json.decode(packet, type=_Request)
        with contextlib.suppress(Exception):  # the program will say it
            importlib.import_module(request.module)
        # What is there already is garbage in no program, and stays shared memory.
        gc.freeze()
        if os.fork() == 0:
            asked.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _begin(request, descriptors)
            return request
        for each in descriptors:
            os.close(each)


def _begin(request: _Request, descriptors: Sequence[int]) -> None:
    """Fork the program and become it; whoever forked it says how it ended."""
    out, err, tell = descriptors
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.close(out)
    os.close(err)
    if request.apart is not Apart.NOTHING:
        own = _NEW_MOUNTS | _NEW_NETWORK
        _unshare(own | (_NEW_PIDS if request.apart is Apart.PROCESSES else 0))
    pid = os.fork()
    if pid != 0:
        os.write(tell, b"%d\n" % pid)
        os.write(tell, b"%d\n" % _ended(pid))
        os._exit(0)
    os.close(tell)
    if request.apart is Apart.PROCESSES:
        _mount("proc", "/proc", _NO_SUID_DEV_EXEC)
        pid = os.fork()
        if pid != 0:
            os._exit(_ended(pid))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.folder)


def _ended(pid: int) -> int:
    """Wait for a child, and for all orphans until then; return its exit code."""
    while True:
        found, status = os.wait()
        if found == pid:
            return os.waitstatus_to_exitcode(status)


def _unshare(flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    _mount(None, "/", _PRIVATE)


def _mount(kind: str | None, target: str, flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    name = kind.encode() if kind else None
    if libc.mount(b"none", target.encode(), name, flags, None) != 0:
        raise OSError(ctypes.get_errno(), f"mount {target}")


if __name__ == "__main__":
    wanted = _serve(socket.socket(fileno=int(sys.argv[1])))
    if wanted is not None:
        sys.argv = [wanted.module, *wanted.words]
        # A program is no module that somebody has imported.
        sys.modules.pop(wanted.module, None)
        runpy.run_module(wanted.module, run_name="__main__", alter_sys=True)
