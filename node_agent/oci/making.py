"""Making one container's process: image, network, mounts, files, devices, conmon, in this order."""

import asyncio
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from node_agent import process
from node_agent.network.network import HOST, ContainerNetwork, asked_of
from node_agent.oci import (
    bundle,
    conmon,
    contents,
    devices,
    filesystem,
    host,
    mounts,
    naming,
    places,
    security,
    sources,
    spec,
    tuning,
    users,
)
from node_agent.oci.cgroups import Cgroups
from node_agent.oci.files import Files, Record
from node_agent.oci.fuse import NO_FUSE, Fuse, Fuses
from node_agent.oci.image import Image, known_signal
from node_agent.oci.images import ImageStore
from node_agent.oci.volumes import Volumes
from shared.errors import ImageError, RuntimeFailureError
from shared.model import Assignment, Workload

_RESOLV_CONF: Final = Path("/etc/resolv.conf")


class Around(NamedTuple):
    """What containers are made with.

    `nameservers` and `gateway` are told to containers: hafen's own name server in place of the
    node's, and the node's address.
    """

    programs: host.Programs
    network: ContainerNetwork
    images: ImageStore
    volumes: Volumes
    cgroups: Cgroups
    fuses: Fuses
    nameservers: tuple[str, ...]
    gateway: str


class Run(NamedTuple):
    """Which run of which container is made: its number from 1, and its generic devices."""

    assignment: Assignment
    image: Image
    number: int
    devices: tuple[str, ...] = ()


class Maker:
    """Makes containers out of what is around them."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._filters = host.filters()
        self._host = host.features(around.programs.runtime, self._filters)

    def check(self, assignment: Assignment) -> None:
        """Refuse what can never run here, and exclusive work that may not begin now.

        Raises:
            RuntimeFailureError: says what and why.
        """
        bundle.check(assignment.workload, self._host)
        if assignment.workload.exclusive:
            self._around.fuses.check(assignment.id)

    def image(self, workload: Workload, digest: str = "") -> Image:
        """Return the image of a new container, or with its digest that of one that was made before.

        Raises:
            ImageError: it is not here.
        """
        images = self._around.images
        image = (images.unpacked(digest) if digest else None) or images.find(workload.image)
        if image is None:
            raise ImageError(f"{workload.image}: not on this node; pull it first")
        return image

    async def make(self, files: Files, run: Run) -> Record:
        """Make the container's process, which waits; declare the container whole.

        Raises:
            RuntimeFailureError: something that it asks for cannot be had.
        """
        around, workload = self._around, run.assignment.workload
        lower = around.images.rootfs(run.image)
        image = _with_user(run.image, workload, lower)
        stop_signal = _stop_signal(image, workload)
        attachment = await around.network.attach(files.id, asked_of(run.assignment))
        files.prepare(lower)
        self._write_names(files, run.assignment, attachment.address)
        bound = await sources.ready(around.volumes, files, workload, lower)
        burns = await self._fuse(files, run.assignment)
        place = bundle.Place(
            rootfs=str(files.rootfs),
            netns=attachment.namespace,
            pidns=burns.namespace,
            epoch=str(files.epoch) if burns.pid else "",
            cgroup=around.cgroups.path(files.id),
            hosts=str(files.data / "hosts"),
            hostname=str(files.data / "hostname"),
            resolv_conf=str(files.data / "resolv.conf"),
            init=host.find_init() if workload.init else "",
            mounts=bound,
            files=contents.paths(files, workload.files),
            devices=devices.granted(workload.security, run.devices),
            disks=devices.numbers(tuning.disks(workload.tuning.block_io)),
        )
        try:
            async with asyncio.TaskGroup() as group:
                making = group.create_task(self._begin(files, run, image, place, lower))
                group.create_task(around.network.admit(files.id))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        record = Record(
            assignment=run.assignment,
            address=attachment.address,
            stop_signal=stop_signal,
            run=run.number,
            pid=making.result(),
            conmon_pid=process.read_pid(files.conmon_pid_file) or 0,
            fuse_pid=burns.pid,
            fuse_init_pid=burns.init_pid,
            digest=image.digest,
            devices=run.devices,
        )
        files.write(record)
        return record

    async def _begin(
        self, files: Files, run: Run, image: Image, place: bundle.Place, lower: Path
    ) -> int:
        """Let conmon make the process; return its id."""
        workload = run.assignment.workload
        allowed = security.capabilities(workload.security, self._host.capabilities)
        chosen = self._filters.of(allowed)
        here = msgspec.structs.replace(
            self._host, seccomp=chosen.rules, seccomp_bpf=chosen.compiled
        )
        planned = msgspec.structs.replace(run.assignment, workload=_led(workload, lower))
        files.write_config(spec.encode(bundle.runtime_spec(image, planned, place, here)))
        mounts.overlay(lower, files.data / "upper", files.data / "work", files.rootfs)
        # The code of the run before would make this one look as if it had ended.
        files.exit_file.unlink(missing_ok=True)
        pid = await conmon.create(self._around.programs, files, workload)
        if not chosen.compiled and security.is_filtered(workload.security):
            # The first one's filter is compiled for all others that are alike, too.
            self._filters.learn(allowed, files.compiled_seccomp())
        return pid

    async def _fuse(self, files: Files, assignment: Assignment) -> Fuse:
        """Prepare what an exclusive container needs more than others."""
        if not assignment.workload.exclusive:
            return NO_FUSE
        files.write_epoch(assignment.epoch)
        return await self._around.fuses.light(files)

    def _write_names(self, files: Files, assignment: Assignment, address: str) -> None:
        asked, around = assignment.workload.naming, self._around
        is_uts_own = not tuning.is_host(assignment.workload.tuning.uts, "uts")
        name = naming.hostname(assignment) if is_uts_own else self._host.name
        hosts = naming.hosts_file(name, address, asked, around.gateway)
        files.write_names(name, hosts, self._resolv_conf(assignment.workload))

    def _resolv_conf(self, workload: Workload) -> str:
        servers = () if workload.network_mode else self._around.nameservers
        is_host = workload.network_mode == HOST
        return naming.resolv_conf(_host_text(), servers, workload.naming, loopback=is_host)


def _led(workload: Workload, lower: Path) -> Workload:
    """Return the workload with every target where the image's own links lead it.

    The runtime follows links without leaving the root file system, but only to what is there.
    """
    if not workload.mounts and not workload.files:
        return workload

    def led(target: str) -> str:
        return f"/{places.within(lower, filesystem.target_of(target)).relative_to(lower)}"

    return msgspec.structs.replace(
        workload,
        mounts=tuple(
            msgspec.structs.replace(each, target=led(each.target)) for each in workload.mounts
        ),
        files=tuple(
            msgspec.structs.replace(each, target=led(each.target)) for each in workload.files
        ),
    )


def _host_text() -> str:
    try:
        return _RESOLV_CONF.read_text()
    except FileNotFoundError:
        return ""


def _stop_signal(image: Image, workload: Workload) -> int:
    if not workload.stop_signal:
        return image.stop_signal
    number = known_signal(workload.stop_signal)
    if number is None:
        raise RuntimeFailureError(f"stop signal {workload.stop_signal!r} is no signal")
    return number


def _with_user(image: Image, workload: Workload, lower: Path) -> Image:
    """Return the image with the user and the groups that the service asks for."""
    asked = workload.security
    if not asked.user and not asked.groups:
        return image
    group = places.read_within(lower, "/etc/group")
    who = users.Who(image.uid, image.gid, image.groups, image.home)
    if asked.user:
        who = users.resolve(asked.user, places.read_within(lower, "/etc/passwd"), group)
    more = users.more_groups(asked.groups, group)
    groups = tuple(dict.fromkeys((*who.groups, *more)))
    return msgspec.structs.replace(image, uid=who.uid, gid=who.gid, groups=groups, home=who.home)
