"""From an image and an assignment to the config.json that crun or runc carries out.

Pure. Nothing is left to choose afterwards: what the process may do, see and use is all in it.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from node_agent.network.network import HOST, NONE
from node_agent.oci import defaults, filesystem, security, spec, tuning
from node_agent.oci.image import Image, arguments, environment
from node_agent.oci.naming import hostname
from shared.errors import RuntimeFailureError
from shared.model import Assignment, Tuning, Workload

# With this crun loads a filter as it is. Compiling it takes 17 ms, as much as all else together.
# Source: crun(1), EXTENSIONS TO OCI.
_COMPILED: Final = "run.oci.seccomp_bpf_data"

# What `uname -m` says -> what images and Compose files call it.
MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What of this machine matters for a container's config.json.

    Attributes:
        seccomp: the filter for the container's capabilities.
        seccomp_bpf: the same, compiled, in base64; empty while nobody has compiled it.
        capabilities: all that this node can give, in the kernel's order.
        nofile_max: the highest limit of open files that is given unasked.
        swap_accounting: the kernel can limit swap per cgroup.
        cgroup_namespace: the kernel has cgroup namespaces.
        cgroup_v2: there is cgroup v2 alone.
        recursive_read_only: a mount can be made read-only with all mounts below it.
        platform: such as linux/amd64.
        name: the node's own host name.
    """

    seccomp: spec.Seccomp
    seccomp_bpf: str = ""
    capabilities: tuple[str, ...] = defaults.CAPABILITIES
    nofile_max: int = defaults.NOFILE_HARD
    swap_accounting: bool = True
    cgroup_namespace: bool = True
    cgroup_v2: bool = False
    recursive_read_only: bool = False
    platform: str = "linux/amd64"
    name: str = ""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where on this machine one container's things are, absolute paths each.

    Attributes:
        netns: its network namespace; empty: the node's own.
        cgroup: below the cgroup mounts, such as /hafen/<id>.
        epoch: of an exclusive container, the file that tells it.
        pidns: of an exclusive container, the namespace that ends with its fuse.
        init: the program that is process 1; empty: the service's own.
        mounts: the source of each of the workload's mounts.
        files: the source of each of the workload's files.
        devices: the nodes to make, each with what may be done to it.
        disks: major and minor of every disk that the workload names.
    """

    rootfs: str
    netns: str
    cgroup: str
    hosts: str
    hostname: str
    resolv_conf: str
    epoch: str = ""
    pidns: str = ""
    init: str = ""
    mounts: tuple[filesystem.Source, ...] = ()
    files: tuple[str, ...] = ()
    devices: tuple[tuple[spec.Device, str], ...] = ()
    disks: Mapping[str, tuple[int, int]] = {}


def check(workload: Workload, host: Host) -> None:
    """Refuse what this node can never run, before anything is made.

    Raises:
        RuntimeFailureError: says what and why.
    """
    if workload.platform and not _is_same(workload.platform, host.platform):
        raise RuntimeFailureError(
            f"platform {workload.platform}: this node is {host.platform}; give the service a"
            " constraint that only nodes of its platform meet"
        )
    if workload.network_mode not in {"", HOST, NONE}:
        raise RuntimeFailureError(
            f"network_mode {workload.network_mode!r} is not possible, only {HOST} and {NONE}"
        )
    if workload.exclusive and tuning.is_host(workload.tuning.pid, "pid"):
        raise RuntimeFailureError(
            "exclusive work cannot have pid: host: the kernel ends it by its own pid namespace"
        )


def _is_same(asked: str, have: str) -> bool:
    """Say whether two platforms agree in as much as both say: os, architecture, variant."""
    pairs = zip(asked.lower().split("/"), have.lower().split("/"), strict=False)
    return all(MACHINES.get(a, a) == MACHINES.get(b, b) for a, b in pairs)


def runtime_spec(image: Image, assignment: Assignment, place: Place, host: Host) -> spec.Spec:
    """Return the whole config.json of one container.

    `image` has the user that the service asks for already.

    Raises:
        RuntimeFailureError: there is nothing to run, or something asked for cannot be.
    """
    workload = assignment.workload
    safe, tuned = workload.security, workload.tuning
    allowed = security.capabilities(safe, host.capabilities)
    is_uts_own = not tuning.is_host(tuned.uts, "uts")
    name = hostname(assignment) if is_uts_own else host.name
    return spec.Spec(
        oci_version=spec.VERSION,
        process=spec.Process(
            user=spec.User(uid=image.uid, gid=image.gid, additional_gids=image.groups),
            args=(*_init(place), *arguments(image, workload)),
            env=environment(image, _environment(assignment), name),
            cwd=workload.working_dir or image.working_dir,
            terminal=workload.tty,
            capabilities=security.capability_sets(allowed, root=image.uid == 0),
            rlimits=tuning.rlimits(tuned.ulimits, host.nofile_max),
            no_new_privileges=safe.no_new_privileges,
            oom_score_adj=tuned.oom_score_adj,
        ),
        root=spec.Root(path=place.rootfs, readonly=safe.read_only),
        hostname=name if is_uts_own else "",
        mounts=filesystem.mounts(
            workload,
            _ours(place),
            place.mounts,
            place.files,
            recursive_read_only=host.recursive_read_only,
        ),
        linux=_linux(workload, place, host),
        annotations=_annotations(assignment, host),
    )


def _linux(workload: Workload, place: Place, host: Host) -> spec.Linux:
    safe, tuned = workload.security, workload.tuning
    masked, read_only = security.hidden(safe)
    resources = tuning.resources(
        workload.limits,
        workload.reservations,
        tuned,
        swap=host.swap_accounting,
        v2=host.cgroup_v2,
    )
    return spec.Linux(
        cgroups_path=place.cgroup,
        namespaces=_namespaces(place, tuned, cgroup=host.cgroup_namespace),
        resources=msgspec.structs.replace(
            resources,
            devices=security.device_rules(safe, place.devices),
            block_io=tuning.block_io(tuned.block_io, place.disks),
        ),
        masked_paths=masked,
        readonly_paths=read_only,
        sysctl=tuning.sysctl(
            tuned, workload.naming.domainname, is_network_own=workload.network_mode != HOST
        ),
        seccomp=host.seccomp if security.is_filtered(safe) else None,
        devices=tuple(device for device, _ in place.devices),
        rootfs_propagation=filesystem.propagation(workload.mounts),
    )


def _annotations(assignment: Assignment, host: Host) -> Mapping[str, str]:
    is_compiled = host.seccomp_bpf and security.is_filtered(assignment.workload.security)
    return {
        **_harmless(assignment.workload.labels),
        # What is missing here crun compiles by itself; runc always does.
        **({_COMPILED: host.seccomp_bpf} if is_compiled else {}),
        "hafen.allocation": assignment.id,
    }


def _init(place: Place) -> tuple[str, ...]:
    if not place.init:
        return ()
    # As a subreaper (-s) it reaps also where it is not process 1: with pid: host, or with a fuse.
    return (filesystem.INIT, "-s", "--")


def _ours(place: Place) -> tuple[spec.Mount, ...]:
    return (
        filesystem.file("/etc/hosts", place.hosts, "noexec"),
        filesystem.file("/etc/hostname", place.hostname, "noexec"),
        filesystem.file("/etc/resolv.conf", place.resolv_conf, "noexec"),
        *(
            [filesystem.file("/run/hafen/epoch", place.epoch, "noexec", "ro")]
            if place.epoch
            else []
        ),
        *([filesystem.file(filesystem.INIT, place.init, "ro")] if place.init else []),
    )


def _environment(assignment: Assignment) -> Mapping[str, str]:
    """Return what the service gives, and to an exclusive container its epoch, which is ours."""
    given = assignment.workload.environment
    if not assignment.workload.exclusive:
        return given
    return {**given, "HAFEN_EPOCH": str(assignment.epoch)}


def _harmless(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that crun does not take for orders to itself: filters, hooks, handlers."""
    return {
        name: value for name, value in labels.items() if name and not name.startswith("run.oci.")
    }


def _namespaces(place: Place, tuned: Tuning, *, cgroup: bool) -> tuple[spec.Namespace, ...]:
    own = (
        ("ipc", not tuning.is_host(tuned.ipc, "ipc")),
        ("uts", not tuning.is_host(tuned.uts, "uts")),
        ("mount", True),
        ("cgroup", cgroup and not tuning.is_host(tuned.cgroup, "cgroup")),
    )
    is_pid_own = not tuning.is_host(tuned.pid, "pid")
    return (
        *([spec.Namespace(type="pid", path=place.pidns)] if is_pid_own else []),
        *(spec.Namespace(type=kind) for kind, is_own in own if is_own),
        *([spec.Namespace(type="network", path=place.netns)] if place.netns else []),
    )
