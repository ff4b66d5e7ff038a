"""`hafen` as a person types it, without the half second that Python takes to read it.

A process of its own has imported the command line and forks for every command, which is a process
as ever: with its own words, environment, folder, output and exit code.
"""

import atexit
import gc
import importlib
import os
import pkgutil
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

import deploy.cli
from deploy.cli.main import main

ROOT = Path(__file__).parents[2]
WITHIN_S = 150.0
# What commands import when they run; a command that needs more only takes longer.
_MORE = ("deploy.client", "deploy.compose", "deploy.lab.ready", "node_agent.oci.archive")
_REQUEST_BYTES_MAX = 100_000  # below what one packet of a socket takes
_DESCRIPTORS = 3  # standard output, standard error, and where the end is told


class Request(msgspec.Struct, frozen=True):
    """One command."""

    words: tuple[str, ...]
    environment: Mapping[str, str]
    folder: str


def type_(
    *words: str,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    within_s: float = WITHIN_S,
) -> subprocess.CompletedProcess[str]:
    """Run `hafen WORDS`; without more, in this process's environment and folder.

    Raises:
        TimeoutExpired: it was killed, it would not end.
    """
    request = Request(words, dict(environment or os.environ), str(folder or Path.cwd()))
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        told, tell = os.pipe()
        with os.fdopen(told, "rb") as end:
            try:
                descriptors = [out.fileno(), err.fileno(), tell]
                packet = msgspec.json.encode(request)
                assert len(packet) < _REQUEST_BYTES_MAX
                socket.send_fds(_typist(), [packet], descriptors)
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
def _typist() -> socket.socket:
    """Start the process that has imported everything; it ends when this one has."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        number = theirs.fileno()
        argv = (sys.executable, "-m", "tests.integration.typist", str(number))
        process = subprocess.Popen(argv, cwd=ROOT, pass_fds=(number,), stdin=subprocess.DEVNULL)

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait(WITHIN_S)

    return ours


def _serve(asked: socket.socket) -> None:
    """Fork for every request; returns in the processes that are commands, and at the end."""
    # Nobody waits for those who wait for a command; the kernel does.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    # Ctrl-C is for tests and commands: the labs are taken down with this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        packet, descriptors, *_ = socket.recv_fds(asked, _REQUEST_BYTES_MAX, _DESCRIPTORS)
        if not packet:
            return
        if os.fork() == 0:
            asked.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _begin(msgspec.json.decode(packet, type=Request), descriptors)
            return
        for each in descriptors:
            os.close(each)


def _begin(request: Request, descriptors: Sequence[int]) -> None:
    """Fork the command and become it; whoever forked it says how it ended."""
    out, err, tell = descriptors
    pid = os.fork()
    if pid != 0:
        os.write(tell, b"%d\n" % pid)
        _, status = os.waitpid(pid, 0)
        os.write(tell, b"%d\n" % os.waitstatus_to_exitcode(status))
        os._exit(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(out, 1)
    os.dup2(err, 2)
    for each in descriptors:
        os.close(each)
    os.environ.clear()
    os.environ.update(request.environment)
    os.chdir(request.folder)
    sys.argv = ["hafen", *request.words]
    main()


if __name__ == "__main__":
    for module in pkgutil.iter_modules(deploy.cli.__path__, "deploy.cli."):
        importlib.import_module(module.name)
    for name in _MORE:
        importlib.import_module(name)
    # What is there already is garbage in no command, and stays shared memory.
    gc.freeze()
    _serve(socket.socket(fileno=int(sys.argv[1])))
