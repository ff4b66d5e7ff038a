"""From an image and an assignment to the config.json that crun or runc carries out.

Pure. Nothing is left to choose afterwards: what the process may do, see and use is all in it.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from node_agent.oci import defaults, spec
from node_agent.oci.image import Image, arguments, environment
from shared.model import Assignment, Resources

_HOSTNAME_MAX: Final = 63
# With this crun loads a filter as it is. Compiling it takes 17 ms, as much as all else together.
# Source: crun(1), EXTENSIONS TO OCI.
_COMPILED: Final = "run.oci.seccomp_bpf_data"
_SHARES_PER_CPU: Final = 1024
_SHARES_MIN: Final = 2
# The kernel refuses a quota below one millisecond.
_QUOTA_US_MIN: Final = 1000


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What of this machine matters for a container's config.json.

    Attributes:
        seccomp: the filter for `capabilities`.
        seccomp_bpf: the same, compiled, in base64; empty while nobody has compiled it.
        nofile_max: the highest limit of open files that may be given.
        swap_accounting: the kernel can limit swap per cgroup.
        cgroup_namespace: the kernel has cgroup namespaces.
    """

    seccomp: spec.Seccomp
    seccomp_bpf: str = ""
    capabilities: tuple[str, ...] = defaults.CAPABILITIES
    nofile_max: int = defaults.NOFILE_HARD
    swap_accounting: bool = True
    cgroup_namespace: bool = True


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where on this machine one container's things are, absolute paths each.

    Attributes:
        cgroup: below the cgroup mounts, such as /hafen/<id>.
        epoch: of an exclusive container, the file that tells it.
        pidns: of an exclusive container, the namespace that ends with its fuse.
    """

    rootfs: str
    netns: str
    cgroup: str
    hosts: str
    hostname: str
    resolv_conf: str
    epoch: str = ""
    pidns: str = ""


def hostname(assignment: Assignment) -> str:
    """Return the container's host name, such as web-1."""
    return f"{assignment.service}-{assignment.slot}"[-_HOSTNAME_MAX:].lstrip("-.")


def hosts_file(name: str, address: str) -> str:
    """Return the text of /etc/hosts."""
    return f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{address}\t{name}\n"


def resolv_conf(host_text: str, nameservers: tuple[str, ...]) -> str:
    """Return the text of /etc/resolv.conf.

    Args:
        host_text: the host's own file. Its servers on loopback are left out: in the container's
            network namespace nobody listens there.
        nameservers: addresses that replace the host's; empty keeps those.
    """
    kept = [line for line in host_text.splitlines() if _is_useful(line, keep=not nameservers)]
    return "".join(f"{line}\n" for line in [*(f"nameserver {a}" for a in nameservers), *kept])


def _is_useful(line: str, *, keep: bool) -> bool:
    words = line.split()
    if not words or words[0] not in {"nameserver", "search", "domain", "options"}:
        return False
    if words[0] != "nameserver":
        return True
    return keep and len(words) > 1 and not words[1].startswith(("127.", "::1"))


def runtime_spec(image: Image, assignment: Assignment, place: Place, host: Host) -> spec.Spec:
    """Return the whole config.json of one container.

    Raises:
        RuntimeFailureError: there is nothing to run.
    """
    workload = assignment.workload
    name = hostname(assignment)
    return spec.Spec(
        oci_version=spec.VERSION,
        process=spec.Process(
            user=spec.User(uid=image.uid, gid=image.gid, additional_gids=image.groups),
            args=arguments(image, workload),
            env=environment(image, _environment(assignment), name),
            cwd=image.working_dir,
            capabilities=_capabilities(host.capabilities, root=image.uid == 0),
            rlimits=(_nofile(host.nofile_max),),
            no_new_privileges=True,
            oom_score_adj=0,
        ),
        root=spec.Root(path=place.rootfs),
        hostname=name,
        mounts=(
            *defaults.MOUNTS,
            _file("/etc/hosts", place.hosts),
            _file("/etc/hostname", place.hostname),
            _file("/etc/resolv.conf", place.resolv_conf),
            *([_file("/run/hafen/epoch", place.epoch, "ro")] if place.epoch else []),
        ),
        linux=spec.Linux(
            cgroups_path=place.cgroup,
            namespaces=_namespaces(place, cgroup=host.cgroup_namespace),
            resources=_resources(workload.limits, workload.reservations, swap=host.swap_accounting),
            masked_paths=defaults.MASKED_PATHS,
            readonly_paths=defaults.READONLY_PATHS,
            sysctl=defaults.SYSCTL,
            seccomp=host.seccomp,
        ),
        annotations={
            **_harmless(workload.labels),
            # What is missing here crun compiles by itself; runc always does.
            **({_COMPILED: host.seccomp_bpf} if host.seccomp_bpf else {}),
            "hafen.allocation": assignment.id,
        },
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


def _capabilities(names: tuple[str, ...], *, root: bool) -> spec.Capabilities:
    """Give a process that is not root nothing but the bounding set, as execve would leave it."""
    if root:
        return spec.Capabilities(bounding=names, effective=names, permitted=names)
    return spec.Capabilities(bounding=names)


def _nofile(limit: int) -> spec.Rlimit:
    hard = min(limit, defaults.NOFILE_HARD)
    return spec.Rlimit(type="RLIMIT_NOFILE", soft=min(hard, defaults.NOFILE_SOFT), hard=hard)


def _file(destination: str, source: str, *more: str) -> spec.Mount:
    return spec.Mount(
        destination=destination,
        source=source,
        type="bind",
        options=("bind", "rprivate", "nosuid", "noexec", "nodev", *more),
    )


def _namespaces(place: Place, *, cgroup: bool) -> tuple[spec.Namespace, ...]:
    own = ["ipc", "uts", "mount", *(["cgroup"] if cgroup else [])]
    return (
        spec.Namespace(type="pid", path=place.pidns),
        *(spec.Namespace(type=kind) for kind in own),
        spec.Namespace(type="network", path=place.netns),
    )


def _resources(limits: Resources, reserved: Resources, *, swap: bool) -> spec.LinuxResources:
    """Return the cgroup's limits; what is reserved is the weight with which CPUs are shared."""
    memory = limits.memory_bytes
    return spec.LinuxResources(
        devices=defaults.DEVICES,
        cpu=_cpu(limits.cpu_millis, reserved.cpu_millis),
        # The same number for memory and for memory with swap: a container over its limit is ended,
        # it does not make the whole node slow.
        memory=spec.Memory(limit=memory, swap=memory if swap else None) if memory else None,
        pids=spec.Pids(limit=limits.pids or defaults.PIDS_LIMIT),
    )


def _cpu(limit_millis: int, reserved_millis: int) -> spec.Cpu | None:
    if not limit_millis and not reserved_millis:
        return None
    quota = max(limit_millis * defaults.CPU_PERIOD_US // 1000, _QUOTA_US_MIN)
    shares = max(reserved_millis * _SHARES_PER_CPU // 1000, _SHARES_MIN)
    return spec.Cpu(
        quota=quota if limit_millis else None,
        period=defaults.CPU_PERIOD_US if limit_millis else None,
        shares=shares if reserved_millis else None,
    )
