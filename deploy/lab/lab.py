"""The lab: virtual hosts on one machine, each running what a real host runs.

Every method may be called from any process; what the lab is lies in its record, its cgroups and its
network namespaces. One command at a time changes a lab; labs do not know of each other.
"""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from deploy.host.files import link_or_copy
from deploy.host.needs import Need, missing, needs_of, require_root
from deploy.lab import cgroups, cuts, disks, ground, hosts, network, programs, record
from deploy.lab.plan import CLIENT, Host, Paths, Way, check_name, hosts_of, members_of, settings_of
from deploy.lab.programs import Program
from deploy.lab.record import Init, LabRecord, Phase
from shared.errors import HafenError, HostError
from shared.settings import NetworkMode

T = TypeVar("T")

# What a host runs. The settings are where they are on a real one.
PROGRAM: Final = (sys.executable, "-m", "deploy.host", "--config", "/etc/hafen/hafen.toml")
_HAFEN: Final = (sys.executable, "-c", "from deploy.cli.main import main; main()")
LAB_NEEDS: Final = (
    Need(("ip",), "iproute2"),
    Need(("tini",), "tini"),
    Need(("nsenter",), "util-linux"),
    Need(("mount",), "mount"),
)
_DISK_NEED: Final = Need(("mkfs.ext4",), "e2fsprogs")


class HostStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One host. `state` is up, cut (no network) or off; `cuts` says which frames are dropped."""

    name: str
    address: str
    state: str
    api: str
    console: str
    member: bool
    labels: Mapping[str, str]
    cuts: tuple[str, ...] = ()


class LabStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A lab as `hafen lab status --json` prints it."""

    name: str
    hosts: tuple[HostStatus, ...]


class Lab:
    """One lab, up or not."""

    def __init__(self, name: str = "lab") -> None:
        self.name = check_name(name)
        self.paths = Paths(name)

    @classmethod
    def open(cls, name: str = "lab") -> "Lab":
        """Return a lab that is up.

        Raises:
            NotFoundError: there is none of that name.
        """
        lab = cls(name)
        record.require(lab.paths)
        return lab

    @property
    def nodes(self) -> tuple[str, ...]:
        """Return the names of the hosts, which are those of the nodes."""
        return tuple(host.name for host in record.require(self.paths).hosts)

    def address(self, node: str) -> str:
        """Return a host's address on the switch."""
        return record.require(self.paths).host(node).address

    def api_socket(self, node: str) -> Path:
        """Return the path at which a host's API answers the machine outside."""
        return self.paths.api_socket(record.require(self.paths).host(node).name)

    async def up(
        self,
        count: int = 3,
        *,
        labels: Mapping[str, Mapping[str, str]] | None = None,
        program: Sequence[str] = PROGRAM,
        disk_mib: int | None = None,
        network_mode: NetworkMode = "routed",
    ) -> None:
        """Make a lab of `count` hosts and start them; what a crash left is removed first.

        Args:
            count: hosts.
            labels: node labels by host name.
            program: what every host runs instead of hafen's own supervisor.
            disk_mib: the size of every host's disk; None: it shares the machine's.
            network_mode: how hosts reach each other's containers.

        Raises:
            SpecError: no such number of hosts or size, or labels for a host that is not among them.
            HostError: the lab is up already, or the machine lacks something; nothing is left then.
        """
        made = hosts_of(count, labels or {}, network_mode)
        disks.check_size(disk_mib)
        check_machine(made, limited=disk_mib is not None)
        async with record.locked(self.paths):
            self._refuse_if_up()
            await network.check_range()
            await ground.clear(self.paths)
            try:
                await self._build(made, tuple(program), disk_mib)
            except BaseException:
                await ground.clear(self.paths)
                raise

    async def down(self) -> bool:
        """Remove the lab whole, running or half-made; say whether there was anything.

        Raises:
            HostError: something cannot be removed; names it.
        """
        require_root("hafen lab")
        async with record.locked(self.paths):
            existed = bool(ground.leftovers(self.name))
            await ground.clear(self.paths)
        return existed

    async def kill(self, node: str) -> None:
        """Cut a host's power: it vanishes from the network, all it ran dies. Its disk stays.

        The port goes first, so that no packet of a dying process tells the others.
        """
        async with record.locked(self.paths):
            lab = record.require(self.paths)
            host = lab.host(node)
            await network.set_ports(self.paths, [host], up=False)
            await self._cut_power(lab, host)
            record.write(self.paths, lab.with_inits({node: None}))

    async def boot(self, node: str) -> None:
        """Switch a host on again: same disk, same address, same MAC.

        Raises:
            HostError: it is on.
        """
        async with record.locked(self.paths):
            lab = record.require(self.paths)
            host = lab.host(node)
            if self._is_on(lab, node):
                raise HostError(f"{node} is up; `hafen lab kill {node}` cuts its power")
            # A kill that was itself killed may have left something.
            await self._cut_power(lab, host)
            await self._switch_on(lab, [host])

    async def cut(self, node: str, *, way: Way | None = None, sender: str | None = None) -> None:
        """Take a host off the network, whole or in one direction; everything on it runs on.

        Args:
            node: the host.
            way: drop only what goes into it, or only what comes out of it; None: pull its cable.
            sender: drop only what this other host sends to it.
        """
        host = record.require(self.paths).host(node)
        if way is None and sender is None:
            await self._set_port(node, up=False)
            return
        async with record.locked(self.paths):
            if sender is not None:
                await cuts.drop_from(self.paths, host, record.require(self.paths).host(sender))
            if way is not None:
                await cuts.drop_way(self.paths, host, way)

    async def heal(self, node: str) -> None:
        """Put a host back on the network, and let all frames from and to it pass."""
        async with record.locked(self.paths):
            await cuts.restore(self.paths, record.require(self.paths).host(node))
        await self._set_port(node, up=True)

    def signal(self, node: str, program: Program, number: signal.Signals) -> None:
        """Send a signal to one of hafen's programs on a host: SIGSTOP, SIGCONT, SIGKILL.

        Raises:
            HostError: the host is off, or the program does not run there.
        """
        self._init(record.require(self.paths), node)
        programs.send(self.paths, node, program, number)

    def fill(self, node: str) -> int:
        """Take all free room on a host's disk, return how many bytes; `free` gives it back.

        Raises:
            HostError: it has no disk of its own, see `up`.
        """
        return disks.fill(self.paths, record.require(self.paths).host(node).name)

    def free(self, node: str) -> None:
        """Give back what `fill` took."""
        disks.free(self.paths, record.require(self.paths).host(node).name)

    async def run_in(self, where: str, argv: Sequence[str], **streams: Any) -> Process:
        """Start a program in a host or on the client; the caller owns the process.

        Args:
            where: a host's name, or "client".
            argv: found on the host's PATH.
            **streams: stdin, stdout, stderr as for asyncio.create_subprocess_exec.

        Raises:
            HostError: the host is off.
        """
        lab = record.require(self.paths)
        if where == CLIENT:
            places = cgroups.make(cgroups.read_hierarchies(), self.name, CLIENT)
            command = hosts.client_argv(self.paths, places, argv)
        else:
            host = lab.host(where)
            places = tuple(cgroups.find(f"{self.name}/{host.name}"))
            command = hosts.inside_argv(self._init(lab, where), places, argv)
        return await asyncio.create_subprocess_exec(
            *command, env=hosts.environment(), cwd="/", **streams
        )

    async def exec(self, where: str, argv: Sequence[str]) -> int:
        """Run a program in a host or on the client, on this terminal; return its exit code."""
        process = await self.run_in(where, argv)
        return await process.wait()

    async def load(self, archive: Path) -> None:
        """Import an image archive into every host that is on.

        Raises:
            HostError: a host would not take it; with its own words.
        """
        lab = record.require(self.paths)
        on = [host for host in lab.hosts if self._is_on(lab, host.name)]
        await together(self._load(host, archive) for host in on)

    async def status(self) -> LabStatus:
        """Return what the lab is and how its hosts are."""
        lab = record.require(self.paths)
        ports = await network.connected(self.paths)
        dropped = await cuts.described(self.paths, lab.hosts)
        members = members_of(lab.hosts)
        return LabStatus(
            name=self.name,
            hosts=tuple(
                HostStatus(
                    name=host.name,
                    address=host.address,
                    state=self._state(lab, host, ports),
                    api=f"unix:{self.paths.api_socket(host.name)}",
                    console=str(self.paths.console(host.name)),
                    member=host in members,
                    labels=host.labels,
                    cuts=dropped[host.name],
                )
                for host in lab.hosts
            ),
        )

    def _refuse_if_up(self) -> None:
        found = record.read(self.paths)
        if found is None or found.phase is not Phase.UP:
            return
        if found.machine_boot == record.machine_boot():
            raise HostError(
                f"lab {self.name} is already up ({len(found.hosts)} hosts): "
                f"`hafen lab down --name {self.name}` removes it"
            )

    async def _build(
        self, made: tuple[Host, ...], program: tuple[str, ...], disk_mib: int | None
    ) -> None:
        lab = LabRecord(
            name=self.name,
            hosts=made,
            program=program,
            phase=Phase.STARTING,
            machine_boot=record.machine_boot(),
        )
        async with record.all_labs_locked():
            record.write(self.paths, lab)
        await ground.make(self.paths, made, disk_mib)
        lab = await self._switch_on(lab, made)
        record.write(self.paths, msgspec.structs.replace(lab, phase=Phase.UP))

    async def _switch_on(self, lab: LabRecord, which: Sequence[Host]) -> LabRecord:
        hierarchies = cgroups.read_hierarchies()
        starting: list[hosts.Starting] = []
        try:
            starting += await together(
                hosts.power_on(host, self.paths, hierarchies, lab.program) for host in which
            )
            inits = {each.host.name: each.init() for each in starting}
            lab = lab.with_inits(inits)
            record.write(self.paths, lab)
            await network.plug_in(self.paths, [(each.host, each.pid) for each in starting])
            await together(each.go() for each in starting)
        except BaseException:
            for each in starting:
                await each.abandon()
            raise
        return lab

    async def _cut_power(self, lab: LabRecord, host: Host) -> None:
        places = cgroups.find(f"{self.name}/{host.name}")
        await hosts.power_off(lab.inits.get(host.name), places, host.name)
        await network.unplug(self.paths, [host])
        hosts.empty(self.paths.node_run(host.name))

    async def _set_port(self, node: str, *, up: bool) -> None:
        async with record.locked(self.paths):
            lab = record.require(self.paths)
            self._init(lab, node)
            await network.set_ports(self.paths, [lab.host(node)], up=up)

    async def _load(self, host: Host, archive: Path) -> None:
        # The host sees its own disk only. A link costs no copy where both are on one file system.
        disk = self.paths.disk(host.name)
        own = disk / f"load-{os.getpid()}-{archive.name}"
        try:
            await asyncio.to_thread(link_or_copy, archive, own)
            process = await self.run_in(
                host.name,
                [*_HAFEN, "image", "load", f"/var/lib/hafen/{own.name}"],
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            out, _ = await process.communicate()
        finally:
            own.unlink(missing_ok=True)
        if process.returncode != 0:
            last = (out.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
            raise HostError(f"{host.name} did not load {archive}: {last}")

    def _is_on(self, lab: LabRecord, node: str) -> bool:
        init = lab.inits.get(lab.host(node).name)
        return init is not None and init.is_alive()

    def _init(self, lab: LabRecord, node: str) -> Init:
        if not self._is_on(lab, node):
            raise HostError(
                f"{node} is off: `hafen lab boot {node} --name {self.name}` switches it on"
            )
        return lab.inits[node]

    def _state(self, lab: LabRecord, host: Host, ports: frozenset[str]) -> str:
        if not self._is_on(lab, host.name):
            return "off"
        return "up" if host.port in ports else "cut"


def check_machine(made: tuple[Host, ...], *, limited: bool) -> None:
    """Refuse a machine on which no lab can run; `limited`: with disks of a size.

    Raises:
        HostError: one line for each thing that is missing.
    """
    require_root("hafen lab up")
    needs = [*LAB_NEEDS, *([_DISK_NEED] if limited else [])]
    lacking = missing([*needs, *needs_of(settings_of(made[0], made))])
    if lacking:
        raise HostError("\n".join(dict.fromkeys(lacking)))


async def together(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all of `calls` at once; the first error of ours ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except ExceptionGroup as several:
        ours = [error for error in several.exceptions if isinstance(error, HafenError)]
        if len(ours) < len(several.exceptions):
            raise  # a bug is among them: show everything
        raise ours[0] from several
    return [task.result() for task in tasks]
