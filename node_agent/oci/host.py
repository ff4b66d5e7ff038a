"""What this machine must have so that containers can run here, and what it has for them.

Everything is looked up once, at start; what is missing is named with the package that has it.
"""

import os
import platform
import resource
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from node_agent.oci import bundle, cgroups, defaults, seccomp
from node_agent.oci.filters import Filters
from shared.errors import HostError, RuntimeFailureError
from shared.model import Resources

_PACKAGES: Final = {
    "crun": "crun",
    "conmon": "conmon",
    "skopeo": "skopeo",
    "umoci": "umoci",
}

_INIT: Final = "tini-static"
# mount_setattr(2), the one call that reaches the mounts below a mount. Source: mount_setattr(2).
_RECURSIVE_READ_ONLY: Final = (5, 12)


class Programs(msgspec.Struct, frozen=True, kw_only=True):
    """Where the programs are, absolute paths. `runtime` is crun or runc."""

    runtime: str
    conmon: str
    skopeo: str
    umoci: str


def problems(root: Path = cgroups.ROOT) -> tuple[str, ...]:
    """Return what keeps containers from running here, one sentence each; empty when all is well."""
    found = []
    if os.geteuid() != 0:
        found.append("containers need root: run this as root")
    found += [
        f"{program} is not installed: apt install {_PACKAGES[program]}"
        for program in ("conmon", "skopeo", "umoci")
        if shutil.which(program) is None
    ]
    if _runtime(root) is None:
        found.append(
            "crun refuses this machine's mix of cgroup v1 and v2: apt install runc"
            if shutil.which("crun")
            else "neither crun nor runc is installed: apt install crun"
        )
    if not seccomp.PROFILE.exists():
        found.append(f"{seccomp.PROFILE} is missing: apt install {seccomp.PACKAGE}")
    if not any(root.glob("*")):
        found.append(f"no cgroups are mounted at {root}")
    if "overlay" not in _file_systems():
        found.append("the kernel has no overlay file system: modprobe overlay")
    return tuple(found)


def check_host() -> Programs:
    """Return the programs that containers need.

    Raises:
        HostError: something is missing; the message has all of it, each with its package.
    """
    if found := problems():
        raise HostError("; ".join(found))
    return Programs(
        runtime=_runtime(cgroups.ROOT) or "",
        conmon=find("conmon"),
        skopeo=find("skopeo"),
        umoci=find("umoci"),
    )


def find(program: str) -> str:
    """Return the program's absolute path.

    Raises:
        HostError: it is not installed; names the package.
    """
    path = shutil.which(program)
    if path is None:
        raise HostError(f"{program} is not installed: apt install {_PACKAGES[program]}")
    return path


def _runtime(root: Path) -> str | None:
    """Return crun, which starts a container in half the time, or runc where crun would refuse."""
    crun = None if cgroups.is_crowded_hybrid(root) else shutil.which("crun")
    return crun or shutil.which("runc")


def _file_systems() -> frozenset[str]:
    lines = Path("/proc/filesystems").read_text().splitlines()
    return frozenset(line.split()[-1] for line in lines if line.split())


def filters() -> Filters:
    """Return the system call filters of this machine.

    Raises:
        HostError: the seccomp profile is missing or damaged.
    """
    try:
        text = seccomp.PROFILE.read_bytes()
    except FileNotFoundError as error:
        raise HostError(f"{seccomp.PROFILE} is missing: apt install {seccomp.PACKAGE}") from error
    machine = seccomp.Machine(platform.machine(), _kernel(platform.release()))
    return Filters(seccomp.decode(text, str(seccomp.PROFILE)), machine)


def features(runtime: str, made: Filters) -> bundle.Host:
    """Return what of this machine goes into every container's config.json.

    Args:
        runtime: the path of crun or runc.
        made: the system call filters of this machine.
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    is_crun = Path(runtime).name == "crun"
    return bundle.Host(
        seccomp=made.of(defaults.CAPABILITIES).rules,
        capabilities=_capabilities(Path("/proc/self/status").read_text()),
        nofile_max=defaults.NOFILE_HARD if hard == resource.RLIM_INFINITY else hard,
        swap_accounting=cgroups.has_swap_accounting(),
        cgroup_namespace=Path("/proc/self/ns/cgroup").exists(),
        cgroup_v2=(cgroups.ROOT / "cgroup.controllers").exists(),
        recursive_read_only=is_crun and _kernel(platform.release()) >= _RECURSIVE_READ_ONLY,
        platform=f"linux/{bundle.MACHINES.get(platform.machine(), platform.machine())}",
        name=platform.node(),
    )


def _capabilities(status: str) -> tuple[str, ...]:
    """Return the capabilities that we may give: those of our own bounding set."""
    (line,) = [line for line in status.splitlines() if line.startswith("CapBnd:")]
    mask = int(line.split()[1], 16)
    return tuple(name for bit, name in enumerate(defaults.ALL_CAPABILITIES) if mask >> bit & 1)


def find_init() -> str:
    """Return the path of the small init; statically linked, it runs in every image.

    Raises:
        RuntimeFailureError: it is not installed; names the package.
    """
    path = shutil.which(_INIT)
    if path is None:
        raise RuntimeFailureError(f"init: {_INIT} is not installed on this node: apt install tini")
    return path


def _kernel(release: str) -> tuple[int, int]:
    """Return the first two numbers of a release such as 6.1.0-13-amd64."""
    major, minor = release.split("-", maxsplit=1)[0].split(".")[:2]
    return int(major), int(minor.rstrip("+"))


def capacity(devices: Mapping[str, tuple[str, ...]]) -> Resources:
    """Return what this node has for containers: the machine's, or less if our cgroup has less.

    `devices` are the paths of generic devices by kind.
    """
    cpu_millis = len(os.sched_getaffinity(0)) * 1000
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Resources(
        cpu_millis=min(cpu_millis, cgroups.cpu_limit_millis() or cpu_millis),
        memory_bytes=min(memory_bytes, cgroups.memory_limit() or memory_bytes),
        pids=int(Path("/proc/sys/kernel/pid_max").read_text()),
        devices={kind: len(paths) for kind, paths in sorted(devices.items())},
    )
