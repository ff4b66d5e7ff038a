"""Containers by crun or runc, with conmon as the keeper of each: the runtime of real hosts.

There is no daemon. conmon holds a container's output and notes its exit code, so containers outlive
the agent, and what is true of them is on the disk and in the kernel. This module puts the parts
together: images, network, root file system, conmon, and the order in which they come and go.
"""

import asyncio
import contextlib
import re
import signal
from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final
from weakref import WeakValueDictionary

import msgspec
import structlog

from node_agent import process
from node_agent.network.network import ContainerNetwork
from node_agent.oci import (
    contents,
    execute,
    fuse,
    host,
    k8slog,
    kernel,
    mounts,
)
from node_agent.oci.cgroups import Cgroups
from node_agent.oci.failing import failing
from node_agent.oci.files import Files, Record
from node_agent.oci.fuse import Fuses
from node_agent.oci.holdings import Holdings
from node_agent.oci.images import ImageStore
from node_agent.oci.making import Around, Maker, Run
from node_agent.oci.volumes import Volumes
from node_agent.runtime import NO_CONTENTS, Container, ExecResult, LogLine, Phase
from shared.clock import Clock
from shared.errors import ContentsGoneError, ImageError, RuntimeFailureError
from shared.model import AllocId, Assignment, Resources

_log = structlog.get_logger()

_START_S: Final = 15.0
# An id becomes a directory, a cgroup and an argument, so it must not be anything else on the way.
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What few hosts need to change.

    Attributes:
        nameservers: hafen's own, for containers; empty: they ask the host's.
        cgroup_parent: the cgroup that all containers are below.
        authfile: credentials for registries; see ImageStore.
        programs: where the programs are; None: looked up, and a missing one is a HostError.
        address: the node's own, for containers that ask for it.
        devices: paths of generic devices by kind, such as gpu.
    """

    nameservers: tuple[str, ...] = ()
    cgroup_parent: str = "hafen"
    authfile: Path | None = None
    programs: host.Programs | None = None
    address: str = ""
    devices: Mapping[str, tuple[str, ...]] = {}


class OciRuntime:
    """The `Runtime` of real hosts; see node_agent.runtime for what each method promises.

    A container is whole when its record is written. What has no record is half-made and belongs to
    nobody: `list` removes it, unless an action on it is under way.

    Args:
        data_dir: survives a reboot: images, and what containers wrote.
        run_dir: should not survive one (tmpfs): bundles, pid files, mount points.
        network: gives each container its namespace and address.
        clock: for waiting.
        options: see there.

    Raises:
        HostError: this machine lacks something; the message names each package.
    """

    def __init__(
        self,
        data_dir: Path,
        run_dir: Path,
        network: ContainerNetwork,
        clock: Clock,
        options: Options | None = None,
    ) -> None:
        self._options = options or Options()
        self._programs = self._options.programs or host.check_host()
        self._data, self._run = data_dir / "containers", run_dir / "containers"
        self._runtime_root, self._secrets = run_dir / "runtime", run_dir / "secrets"
        self._network, self._clock = network, clock
        self._cgroups = Cgroups(self._options.cgroup_parent)
        self._images = ImageStore(data_dir, self._options.authfile)
        self._volumes = Volumes(data_dir / "volumes")
        self._holdings = Holdings(self._data, self._options.devices)
        # Held by whoever works on a container; nobody working, it is forgotten.
        self._locks: WeakValueDictionary[AllocId, asyncio.Lock] = WeakValueDictionary()
        self._callbacks: list[Callable[[], None]] = []
        self._watch = process.ExitWatch(self._exited)
        for directory in (self._data, self._run, self._runtime_root, self._secrets):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._fuses = Fuses(self._run, clock)
        self._maker = Maker(
            Around(
                programs=self._programs,
                network=network,
                images=self._images,
                volumes=self._volumes,
                cgroups=self._cgroups,
                fuses=self._fuses,
                nameservers=self._options.nameservers,
                gateway=self._options.address,
            )
        )

    def close(self) -> None:
        """Let go of everything; the containers run on."""
        self._watch.close()
        self._fuses.close()

    def keep_until(self, boot_s: float) -> None:
        """Move on the moment at which the kernel ends exclusive containers."""
        self._fuses.keep_until(boot_s)

    @failing("not listed")
    async def list(self) -> tuple[Container, ...]:
        """Return every whole container, sorted by id; remove half-made ones nobody works on."""
        found = []
        for name in sorted(path.name for path in self._data.iterdir()):
            files = self._files(AllocId(name))
            record = files.read()
            if record is not None:
                found.append(kernel.observe(files, record, self._cgroups))
                self._watch_end(files, record)
            elif not self._lock(files.id).locked():
                await self._sweep(files.id)
        return tuple(found)

    @property
    def images(self) -> ImageStore:
        """Return the images that containers are made of."""
        return self._images

    def image_digests(self) -> frozenset[str]:
        """Return the digests of the images that containers here are made of."""
        names = [AllocId(path.name) for path in self._data.iterdir()]
        return frozenset(record.digest for name in names if (record := self._files(name).read()))

    @failing("not looked for", ImageError)
    async def has_image(self, image: str) -> bool:
        """Say whether the image is unpacked here."""
        return self._images.find(image) is not None

    async def pull(self, image: str, *, anew: bool = False) -> None:
        """Fetch and unpack an image if it is not here; with `anew` ask the registry in any case."""
        await self._images.pull(image, anew=anew)

    @failing("not made")
    async def create(
        self, assignment: Assignment, given: Mapping[str, bytes] = NO_CONTENTS
    ) -> None:
        """Make the container; its process waits for `start`."""
        if not _ID.fullmatch(assignment.id):
            raise RuntimeFailureError(f"{assignment.id!r} cannot be the name of a container")
        files, wanted = self._files(assignment.id), assignment.workload.files
        async with self._lock(files.id):
            if files.read() is not None:
                if not contents.are_there(files, wanted):
                    contents.write(files, wanted, given)
                return
            self._maker.check(assignment)
            image = self._maker.image(assignment.workload)
            if files.data.exists():
                await self._clear(files)
            with self._holdings.making(assignment) as devices:
                # First of all, because `list` finds what a crash leaves by this directory.
                files.data.mkdir(mode=0o700)
                contents.write(files, wanted, given)
                record = await self._maker.make(files, Run(assignment, image, 1, devices))
            self._watch_end(files, record)

    @failing("not started")
    async def start(self, id_: AllocId) -> None:
        """Run the container; one that has exited is made anew with the same files and address."""
        files = self._files(id_)
        async with self._lock(id_):
            record, container = self._observed(files)
            if container.phase is Phase.RUNNING:
                return
            planned = record.assignment
            self._maker.check(planned)
            if container.phase is Phase.EXITED:
                image = self._maker.image(planned.workload, record.digest)
                if not contents.are_there(files, planned.workload.files):
                    raise ContentsGoneError(f"{id_}: its secrets are gone, as after a reboot")
                await self._end(files)
                run = Run(planned, image, container.started + 1, record.devices)
                record = await self._maker.make(files, run)
                self._watch_end(files, record)
            await self._runtime("start", id_)
            self._watch_end(files, record)

    @failing("not stopped")
    async def stop(self, id_: AllocId, grace_s: float) -> None:
        """Ask the container to end, insist after `grace_s`, and return when it has ended."""
        files = self._files(id_)
        async with self._lock(id_):
            record = files.read()
            if record is None:
                return
            container = kernel.observe(files, record, self._cgroups)
            if container.phase is Phase.EXITED:
                return
            if container.phase is Phase.RUNNING:
                await self._ask(files, record, grace_s)
            await self._insist(files, record)
            if record.assignment.workload.tuning.pid:
                # No pid namespace of its own has ended what its first process has left behind.
                await kernel.end_rest(files, self._cgroups, self._clock)

    @failing("not removed")
    async def remove(self, id_: AllocId) -> None:
        """End the container and remove everything of it, however little or much there is."""
        files = self._files(id_)
        async with self._lock(id_):
            await self._clear(files)
        self._forget(id_)

    @failing("no command run in it")
    async def exec(self, id_: AllocId, argv: tuple[str, ...], timeout_s: float) -> ExecResult:
        """Run a command in the running container."""
        files = self._files(id_)
        _, container = self._observed(files)
        if container.phase is not Phase.RUNNING:
            raise RuntimeFailureError(f"{id_} is {container.phase}, not running")
        return await execute.execute(self._programs.runtime, files, self._cgroups, argv, timeout_s)

    async def logs(
        self, id_: AllocId, *, follow: bool, tail: int | None
    ) -> AsyncGenerator[LogLine, None]:
        """Yield what the container wrote; conmon keeps the last 16 MiB or less."""
        files = self._files(id_)
        self._observed(files)
        async with contextlib.aclosing(
            k8slog.read(files.log, self._clock, follow=follow, tail=tail)
        ) as lines:
            async for line in lines:
                yield line

    def on_exit(self, callback: Callable[[], None]) -> None:
        """Call `callback` soon after any container exits."""
        self._callbacks.append(callback)

    def capacity(self) -> Resources:
        """Return what this node has for containers."""
        return host.capacity(self._options.devices)

    def volumes(self) -> tuple[str, ...]:
        """Return the named volumes whose data is here, sorted."""
        return self._volumes.names()

    @failing("not removed")
    async def remove_volume(self, name: str) -> None:
        """Remove a volume's data, unless a container uses it."""
        self._holdings.check_unused(name)
        await self._volumes.remove(name)

    # ------------------------------------------------------------ making

    async def _runtime(self, verb: str, id_: AllocId) -> None:
        """Let crun or runc do something to a container."""
        root = f"--root={self._runtime_root}"
        try:
            done = await process.run(self._programs.runtime, root, verb, id_, deadline_s=_START_S)
        except TimeoutError as error:
            raise RuntimeFailureError(f"{id_}: no {verb} within {_START_S:.0f} s") from error
        if done.code != 0:
            raise RuntimeFailureError(f"{id_}: {verb}: {done.last_line()}")

    # ------------------------------------------------------------ ending

    async def _ask(self, files: Files, record: Record, grace_s: float) -> None:
        """Send the stop signal and wait for the end, at most `grace_s`."""
        self._cgroups.thaw(files.id)
        is_it = partial(kernel.is_running, files, record, self._cgroups)
        process.send(record.pid, record.stop_signal, is_it)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await kernel.gone(files, record, self._cgroups)

    async def _insist(self, files: Files, record: Record) -> None:
        """Send SIGKILL; process 1 of a pid namespace takes all others with it."""
        self._cgroups.thaw(files.id)
        is_it = partial(kernel.is_running, files, record, self._cgroups)
        process.send(record.pid, signal.SIGKILL, is_it)
        if record.fuse_pid:
            await kernel.extinguish(files, self._cgroups, self._clock)
        try:
            async with asyncio.timeout(kernel.KILL_S):
                await kernel.gone(files, record, self._cgroups)
        except TimeoutError as error:
            raise RuntimeFailureError(
                f"{files.id}: process {record.pid} is still there"
                f" {kernel.KILL_S:.0f} s after SIGKILL"
            ) from error

    async def _end(self, files: Files) -> None:
        """Remove the last run: processes, cgroup, mount, bundle. What the container wrote stays."""
        await kernel.kill_all(files, self._cgroups, self._clock)
        self._forget(files.id)
        await asyncio.to_thread(mounts.unmount_below, files.bundle)
        await asyncio.to_thread(files.delete_run)

    async def _clear(self, files: Files) -> None:
        """Remove everything. The record goes early: a crash leaves a half-made container."""
        await kernel.kill_all(files, self._cgroups, self._clock)
        files.record.unlink(missing_ok=True)
        await self._end(files)
        await self._network.detach(files.id)
        contents.forget(files)
        # Last, because `list` finds what is left by this directory.
        await asyncio.to_thread(files.delete_data)

    async def _sweep(self, id_: AllocId) -> None:
        """Remove a half-made container; if that fails, the next pass tries again."""
        try:
            await self.remove(id_)
            _log.info("half_made_container_removed", allocation=id_)
        except RuntimeFailureError as error:
            _log.warning("half_made_container_stays", allocation=id_, error=str(error))

    # ------------------------------------------------------------ looking

    def _files(self, id_: AllocId) -> Files:
        return Files(
            id=id_,
            data=self._data / id_,
            bundle=self._run / id_,
            runtime_root=self._runtime_root,
            secrets=self._secrets / id_,
        )

    def _lock(self, id_: AllocId) -> asyncio.Lock:
        return self._locks.setdefault(id_, asyncio.Lock())

    def _observed(self, files: Files) -> tuple[Record, Container]:
        record = files.read()
        if record is None:
            raise RuntimeFailureError(f"{files.id}: no such container on this node")
        return record, kernel.observe(files, record, self._cgroups)

    def _watch_end(self, files: Files, record: Record) -> None:
        """Be told when the container ends: by conmon's end, or by its own if conmon is gone."""
        is_conmon = partial(kernel.is_conmon, files, record.conmon_pid)
        is_first = partial(kernel.is_running, files, record, self._cgroups)
        if not self._watch.watch(files.id, record.conmon_pid, is_conmon):
            self._watch.watch(files.id, record.pid, is_first)
        if record.fuse_pid:
            is_init = partial(fuse.is_fuse, files, record.fuse_init_pid)
            self._watch.watch(f"{files.id}/init", record.fuse_init_pid, is_init)
            if not self._watch.watch(f"{files.id}/first", record.pid, is_first):
                # What its first process has left behind ends, too.
                fuse.burn(files, record.fuse_pid)

    def _exited(self, key: str) -> None:
        id_ = AllocId(key.partition("/")[0])
        files = self._files(id_)
        record = files.read()
        if record is not None and record.fuse_pid:
            self._watch_end(files, record)
            if any(map(self._watch.watches, _keys(id_))):
                return  # it has exited when all have
        _log.debug("container_exited", allocation=id_)
        for callback in self._callbacks:
            callback()

    def _forget(self, id_: AllocId) -> None:
        self._fuses.forget(id_)
        for key in _keys(id_):
            self._watch.forget(key)


def _keys(id_: AllocId) -> tuple[str, ...]:
    """Return the keys under which a container's processes may be watched."""
    return (id_, f"{id_}/first", f"{id_}/init")
