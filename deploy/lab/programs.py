"""The processes of hafen inside a virtual host: found by what they run, then stopped or killed."""

import enum
import os
import signal
from pathlib import Path
from typing import Final

from deploy.lab import cgroups
from deploy.lab.plan import Paths
from shared.errors import HostError


class Program(enum.StrEnum):
    """One of hafen's processes on a host."""

    AGENT = "agent"
    SCHEDULER = "scheduler"
    ETCD = "etcd"
    RUN = "run"


_MODULES: Final = {
    Program.AGENT: "node_agent",
    Program.SCHEDULER: "scheduler",
    Program.RUN: "deploy.host",
}


def is_program(argv: tuple[str, ...], program: Program) -> bool:
    """Say whether a command line is that of a program. Pure."""
    if program is Program.ETCD:
        return argv[0].rpartition("/")[2] == "etcd"
    # `respawn.py -- python -m deploy.host` has the words too, but not in this place.
    return argv[1:3] == ("-m", _MODULES[program])


def find(paths: Paths, node: str, program: Program) -> frozenset[int]:
    """Return the processes of a host that run a program."""
    found = cgroups.processes(cgroups.find(f"{paths.lab}/{node}"))
    return frozenset(pid for pid in found if is_program(_command_line(pid), program))


def send(paths: Paths, node: str, program: Program, number: signal.Signals) -> None:
    """Send a signal to a program of a host.

    Raises:
        HostError: it does not run there.
    """
    pids = find(paths, node, program)
    if not pids:
        raise HostError(f"{node} runs no {program} at the moment")
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue  # ended since it was listed


def _command_line(pid: int) -> tuple[str, ...]:
    try:
        text = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ("",)
    return tuple(text.rstrip("\0").split("\0"))
