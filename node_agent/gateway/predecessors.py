"""Ending an HAProxy that stands still: its sockets would go on taking connections beside the next.

A process is known by its command line and network, asked once its pidfd is open: a number alone
may have passed to another program.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import structlog

from node_agent import process as processes

_log = structlog.get_logger()

# It closes its sockets a few milliseconds after it is told to; one that has not for so many times
# longer will not. Counted in looks, not by the clock: when the whole host stands still we do, too.
_LEAVES_S: Final = 5.0
_LOOK_S: Final = 0.05
# The states of a TCP socket in /proc/net: it listens.
_LISTENS: Final = "0A"
_TABLES: Final = ("tcp", "tcp6")
_COLUMNS_MIN: Final = 10

IsOurs = Callable[[int], bool]


async def end(pids: Iterable[int], is_ours: IsOurs, reason: str) -> None:
    """Kill processes that are still ours, and return once they have ended."""
    for pid in pids:
        if processes.send(pid, signal.SIGKILL, lambda pid=pid: is_ours(pid)):  # type: ignore[misc]
            _log.error("haproxy_killed", pid=pid, reason=reason)
        await processes.ended(pid, lambda pid=pid: is_ours(pid))  # type: ignore[misc]


async def until_left(pids: Iterable[int], is_ours: IsOurs) -> None:
    """Wait until processes that were told to go do not listen any more; kill those that do."""
    listening = tuple(pids)
    for _ in range(round(_LEAVES_S / _LOOK_S)):
        listening = tuple(pid for pid in listening if listens(pid))
        if not listening:
            return
        await asyncio.sleep(_LOOK_S)
    await end(listening, is_ours, f"it still listens {_LEAVES_S:g} s after its successor began")


def listens(pid: int) -> bool:
    """Say whether a process of this network namespace has a TCP socket that listens."""
    held = _sockets_of(pid)
    return bool(held) and not held.isdisjoint(_listening())


def _sockets_of(pid: int) -> frozenset[str]:
    """Return the inodes of a process's sockets; none if it is not there."""
    found = set()
    try:
        for entry in os.scandir(f"/proc/{pid}/fd"):
            target = _target(entry.path)
            if target.startswith("socket:["):
                found.add(target.removeprefix("socket:[").removesuffix("]"))
    except OSError:
        return frozenset()
    return frozenset(found)


def _target(path: str) -> str:
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""  # Closed in between.


def _listening() -> frozenset[str]:
    found = set()
    for table in _TABLES:
        try:
            text = Path(f"/proc/self/net/{table}").read_text(encoding="ascii")
        except FileNotFoundError:
            continue  # A kernel without IPv6.
        rows = (line.split() for line in text.splitlines()[1:])
        found |= {row[9] for row in rows if len(row) >= _COLUMNS_MIN and row[3] == _LISTENS}
    return frozenset(found)
