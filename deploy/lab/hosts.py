"""One virtual host: switch it on, cut its power, run a program inside.

A host is the processes in its cgroups. Its process 1 is killed first, which takes its whole pid
namespace with it; what is still in the cgroups then was run from outside and is killed by itself.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import deploy
from deploy.host.poll import until
from deploy.lab import cgroups
from deploy.lab.cgroups import Hierarchy
from deploy.lab.plan import NETNS_ROOT, RUN_ROOT, Host, Paths
from deploy.lab.record import Init
from shared.errors import HostError

_HERE: Final = Path(__file__).parent
# All of them together take some 0.1 s on an idle machine.
_START_S: Final = 20.0
# The kernel needs milliseconds; more only where processes wait for a slow disk.
_DIE_S: Final = 15.0
# Programs that read nothing of ours start with neither site-packages nor the caller's environment.
_BARE: Final = (sys.executable, "-I", "-S")


class Starting:
    """A host between its first process and its init program."""

    def __init__(self, host: Host, process: Process, console: Path, pid: int) -> None:
        self.host, self.pid = host, pid
        self._process, self._console = process, console

    def init(self) -> Init:
        """Return process 1 as the record keeps it.

        Raises:
            HostError: it has ended already; with its last words.
        """
        ticks = cgroups.started_ticks(self.pid)
        if ticks is None:
            raise self._failed()
        return Init(self.pid, ticks)

    async def go(self) -> None:
        """Let the host start its programs: its network card is there.

        Raises:
            HostError: it could not be set up; with its last words.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        try:
            async with asyncio.timeout(_START_S):
                stdin.write(b"go\n")
                await stdin.drain()
                answer = await stdout.read()
        except (TimeoutError, ConnectionError) as error:
            raise self._failed() from error
        finally:
            stdin.close()
        if answer != b"ok\n":
            raise self._failed()
        # Its work is done; the host it made is no child of ours.
        await self._process.wait()

    async def abandon(self) -> None:
        """Let go of a host that will not be started: without "go" it ends by itself."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()

    def _failed(self) -> HostError:
        return HostError(f"{self.host.name} did not start: {last_line(self._console)}")


async def power_on(
    host: Host, paths: Paths, hierarchies: Sequence[Hierarchy], argv: Sequence[str]
) -> Starting:
    """Start a host up to the point where its network card can be plugged in.

    Args:
        host: must be off.
        paths: of its lab.
        hierarchies: of the machine.
        argv: what the host runs, and starts again whenever it ends.

    Raises:
        HostError: the machine cannot make one; with the program's last line.
    """
    places = cgroups.make(hierarchies, paths.lab, host.name)
    job = _job(host, paths, hierarchies, places, argv)
    with paths.console(host.name).open("ab") as console:
        process = await _spawn([*_BARE, str(_HERE / "init.py")], console)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_S):
            process.stdin.write(json.dumps(job).encode() + b"\n")
            await process.stdin.drain()
            answer = await process.stdout.readline()
    except (TimeoutError, ConnectionError) as error:
        raise HostError(
            f"{host.name} did not start: {last_line(paths.console(host.name))}"
        ) from error
    if not answer.strip().isdigit():
        raise HostError(f"{host.name} did not start: {last_line(paths.console(host.name))}")
    return Starting(host, process, paths.console(host.name), int(answer))


async def _spawn(argv: Sequence[str], console: IO[bytes]) -> Process:
    return await asyncio.create_subprocess_exec(
        *argv, stdin=PIPE, stdout=PIPE, stderr=console, env=environment(), cwd="/"
    )


def _job(
    host: Host,
    paths: Paths,
    hierarchies: Sequence[Hierarchy],
    places: Sequence[Path],
    argv: Sequence[str],
) -> Mapping[str, object]:
    node = paths.node(host.name)
    files = {node / name: Path("/etc") / name for name in ("hosts", "hostname", "resolv.conf")}
    is_v2 = all(each.version == 2 for each in hierarchies)  # noqa: PLR2004 - version 2
    supervised = [*_BARE, str(_HERE / "respawn.py"), "--", *argv]
    return {
        "hostname": host.name,
        "address": f"{host.address}/24",
        "leave": foreign_mounts(Path("/proc/self/mountinfo").read_text(), paths),
        "binds": [
            [str(paths.disk(host.name)), "/var/lib/hafen"],
            [str(paths.etc(host.name)), "/etc/hafen"],
            # A machine without, say, /etc/hostname has none to replace.
            *([str(own), str(seen)] for own, seen in files.items() if seen.exists()),
        ],
        "run": str(paths.node_run(host.name)),
        "staging": str(node / "tmp"),
        "keep": _below_tmp([code_root(), Path(sys.prefix), Path(sys.base_prefix)]),
        "cgroups": [str(place) for place in places],
        "leaf": cgroups.LEAF if is_v2 else "",
        "cgroup_mounts": cgroup_mounts(hierarchies),
        "argv": ["tini", "--", *supervised],
    }


def foreign_mounts(mountinfo: str, paths: Paths) -> list[str]:
    """Return the mount points of other labs and of network namespaces, deepest first. Pure."""
    points = [line.split()[4] for line in mountinfo.splitlines()]
    foreign = [
        point
        for point in points
        if Path(point).is_relative_to(NETNS_ROOT)
        or (Path(point).is_relative_to(RUN_ROOT) and not Path(point).is_relative_to(paths.run))
    ]
    return sorted(foreign, key=len, reverse=True)


def cgroup_mounts(hierarchies: Sequence[Hierarchy]) -> list[list[str]]:
    """Return what a host mounts below /sys/fs/cgroup: name, file system, options. Pure.

    On a hybrid machine a host sees version 1 only: crun refuses to work where it finds both.
    """
    old = [each for each in hierarchies if each.version == 1]
    if old:
        return [[each.mount.name, "cgroup", each.options] for each in old]
    return [[each.mount.name, "cgroup2", ""] for each in hierarchies]


def _below_tmp(needed: Sequence[Path]) -> list[str]:
    """Return the directories that a host must see although it gets a /tmp of its own."""
    real = {path.resolve() for path in needed}
    return sorted(str(path) for path in real if path.is_relative_to("/tmp"))  # noqa: S108 - a checkout may be there


def code_root() -> Path:
    """Return the directory from which hafen's packages are imported."""
    return Path(deploy.__file__).resolve().parent.parent


def environment() -> dict[str, str]:
    """Return the environment inside a host: nothing of the caller's, who is another machine."""
    here = str(Path(sys.executable).parent)
    return {
        "PATH": f"{here}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PYTHONPATH": str(code_root()),
        "HOME": "/root",
        "LANG": "C.UTF-8",
    }


async def power_off(init: Init | None, places: Sequence[Path], what: str) -> None:
    """Kill everything in the cgroups, at once and without warning; return when all of it is dead.

    Raises:
        HostError: something survived; names it.
    """
    if init is not None and init.is_alive():
        os.kill(init.pid, signal.SIGKILL)

    def is_empty() -> bool:
        # A frozen process dies only once it is thawed, and a container may be frozen while we look.
        cgroups.thaw(places)
        left = cgroups.processes(places)
        for pid in left:
            _kill(pid)
        # A cgroup forgets a process a moment before it is dead; process 1 is so after all others.
        return not left and (init is None or not init.is_alive())

    if not await until(is_empty, _DIE_S):
        left = ", ".join(map(str, sorted(cgroups.processes(places))))
        raise HostError(f"{what}: processes {left} survive SIGKILL; the kernel holds them")
    await cgroups.remove(places)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # dead since it was listed


def empty(directory: Path) -> None:
    """Remove all that is in a directory, not the directory: a host's /run after a power loss."""
    for entry in directory.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def inside_argv(init: Init, places: Sequence[Path], argv: Sequence[str]) -> list[str]:
    """Return the command that runs `argv` as a process of a host."""
    # On version 2 only a leaf can take processes.
    leaves = [
        place / cgroups.LEAF if (place / cgroups.LEAF).is_dir() else place for place in places
    ]
    # nsenter waits outside for the program inside; whoever kills it means the program.
    tied = ["setpriv", "--pdeathsig", "KILL", "--", *argv]
    return _enter(leaves, ["nsenter", "--target", str(init.pid), "--all", "--", *tied])


def client_argv(paths: Paths, places: Sequence[Path], argv: Sequence[str]) -> list[str]:
    """Return the command that runs `argv` on the client: the machine's files, the lab's network."""
    return _enter(places, ["nsenter", f"--net={NETNS_ROOT / paths.client}", "--", *argv])


def _enter(places: Sequence[Path], argv: Sequence[str]) -> list[str]:
    flags = [part for place in places for part in ("--cgroup", str(place))]
    return [*_BARE, str(_HERE / "enter.py"), *flags, "--", *argv]


def last_line(console: Path) -> str:
    """Return the last line of a host's console, for error messages."""
    try:
        lines = console.read_text(errors="replace").strip().splitlines()
    except FileNotFoundError:
        lines = []
    return f"{lines[-1] if lines else 'it said nothing'} ({console})"
