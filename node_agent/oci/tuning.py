"""How the kernel treats a container: its cgroup, limits of its processes, kernel parameters.

Pure.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from node_agent.oci import defaults, spec
from shared.errors import RuntimeFailureError
from shared.model import BlockIo, Resources, Throttle, Tuning, Ulimit

_SHARES_PER_CPU: Final = 1024
_SHARES_MIN: Final = 2
# The kernel refuses a quota below one millisecond.
_QUOTA_US_MIN: Final = 1000
_UNLIMITED: Final = 2**64 - 1
_HOST: Final = "host"

# Source: setrlimit(2).
_LIMITS: Final = frozenset(
    {"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile"}
    | {"nproc", "rss", "rtprio", "rttime", "sigpending", "stack"}
)
# Which namespace a kernel parameter belongs to; those of no namespace are the whole node's.
# Source: namespaces(7), ipc_namespaces(7); runtime-spec 1.0.2, config-linux.md.
_IPC_PARAMETERS: Final = re.compile(
    r"fs\.mqueue\..+|kernel\.(msg(max|mnb|mni)|sem|shm(all|max|mni|_rmid_forced))"
)
_UTS_PARAMETERS: Final = frozenset({"kernel.domainname", "kernel.hostname"})


def is_host(choice: str, which: str) -> bool:
    """Say whether the node's own namespace is asked for.

    Raises:
        RuntimeFailureError: something else is asked for than that or nothing.
    """
    if choice not in {"", _HOST}:
        raise RuntimeFailureError(f"{which}: {choice!r} is not possible, only host")
    return choice == _HOST


def rlimits(ulimits: Sequence[Ulimit], nofile_max: int) -> tuple[spec.Rlimit, ...]:
    """Return the limits of the process; `nofile_max` is the highest that the node gives unasked.

    Raises:
        RuntimeFailureError: a limit that the kernel does not have, or a soft above its hard one.
    """
    hard = min(nofile_max, defaults.NOFILE_HARD)
    limits = {"nofile": Ulimit(name="nofile", soft=min(hard, defaults.NOFILE_SOFT), hard=hard)}
    limits |= {each.name: each for each in ulimits}
    return tuple(_rlimit(each) for each in limits.values())


def _rlimit(limit: Ulimit) -> spec.Rlimit:
    if limit.name not in _LIMITS:
        known = ", ".join(sorted(_LIMITS))
        raise RuntimeFailureError(f"ulimit {limit.name!r} is none of {known}")
    soft, hard = (_UNLIMITED if each < 0 else each for each in (limit.soft, limit.hard))
    if soft > hard:
        raise RuntimeFailureError(
            f"ulimit {limit.name}: soft {limit.soft} is above hard {limit.hard}"
        )
    return spec.Rlimit(type=f"RLIMIT_{limit.name.upper()}", soft=soft, hard=hard)


def sysctl(tuning: Tuning, domainname: str, *, is_network_own: bool = True) -> Mapping[str, str]:
    """Return the kernel parameters of the container's own namespaces.

    Raises:
        RuntimeFailureError: one that would change the whole node.
    """
    for name in sorted(tuning.sysctls):
        why = _not_its_own(name, tuning, is_network_own=is_network_own)
        if why:
            raise RuntimeFailureError(f"sysctl {name}: {why}")
    is_uts_own = not is_host(tuning.uts, "uts")
    if domainname and not is_uts_own:
        raise RuntimeFailureError(f"domainname {domainname}: uts: host has the node's own")
    named = {"kernel.domainname": domainname} if domainname else {}
    ours = {} if not is_network_own else defaults.SYSCTL
    return {**ours, **named, **tuning.sysctls}


def _not_its_own(name: str, tuning: Tuning, *, is_network_own: bool) -> str:
    """Return why a container may not set a parameter, or ""."""
    if name.startswith("net."):
        return "" if is_network_own else "with network_mode: host it is the node's own"
    if _IPC_PARAMETERS.fullmatch(name):
        return "with ipc: host it is the node's own" if is_host(tuning.ipc, "ipc") else ""
    if name in _UTS_PARAMETERS:
        return "say hostname or domainname instead"
    return "it belongs to no namespace: it would change the whole node; set it on the node"


def resources(
    limits: Resources,
    reserved: Resources,
    tuning: Tuning,
    *,
    swap: bool,
    v2: bool,
) -> spec.LinuxResources:
    """Return the cgroup's limits, without devices and disks.

    What is reserved is the weight with which CPUs are shared, unless the service says a weight.

    Args:
        limits: 0: none.
        reserved: what placement counted.
        tuning: what the service says besides.
        swap: the kernel can limit swap per cgroup.
        v2: the node has cgroup v2 alone.

    Raises:
        RuntimeFailureError: something that this node's kernel cannot do.
    """
    return spec.LinuxResources(
        devices=(),
        cpu=_cpu(limits.cpu_millis, reserved.cpu_millis, tuning),
        memory=_memory(limits.memory_bytes, tuning, swap=swap, v2=v2),
        pids=spec.Pids(limit=limits.pids or defaults.PIDS_LIMIT),
    )


def _cpu(limit_millis: int, reserved_millis: int, tuning: Tuning) -> spec.Cpu | None:
    weight = tuning.cpu_shares or reserved_millis * _SHARES_PER_CPU // 1000
    if not limit_millis and not reserved_millis and not weight and not tuning.cpuset:
        return None
    quota = max(limit_millis * defaults.CPU_PERIOD_US // 1000, _QUOTA_US_MIN)
    return spec.Cpu(
        quota=quota if limit_millis else None,
        period=defaults.CPU_PERIOD_US if limit_millis else None,
        shares=max(weight, _SHARES_MIN) if reserved_millis or tuning.cpu_shares else None,
        cpus=tuning.cpuset,
    )


def _memory(limit: int, tuning: Tuning, *, swap: bool, v2: bool) -> spec.Memory | None:
    asked = tuning.memory_swap_bytes
    if asked and not limit and asked > 0:
        raise RuntimeFailureError("memory and swap have a limit, memory alone has none: give both")
    if asked > 0 and asked < limit:
        raise RuntimeFailureError(
            f"memory and swap together, {asked} bytes, are less than memory alone, {limit}"
        )
    if asked > limit and not swap:
        raise RuntimeFailureError("this node's kernel cannot limit swap: leave the limit out")
    if v2 and tuning.swappiness is not None:
        raise RuntimeFailureError("cgroup v2, which this node has, knows no swappiness")
    if v2 and tuning.oom_kill_disable:
        raise RuntimeFailureError(
            "cgroup v2, which this node has, always ends what is out of memory"
        )
    memory = spec.Memory(
        limit=limit or None,
        # The same number for memory and for memory with swap: a container over its limit is ended,
        # it does not make the whole node slow.
        swap=(asked or limit or None) if swap else None,
        swappiness=tuning.swappiness,
        disable_oom_killer=tuning.oom_kill_disable,
    )
    return None if memory == spec.Memory() else memory


def block_io(asked: BlockIo, numbers: Mapping[str, tuple[int, int]]) -> spec.BlockIo | None:
    """Return how disks are shared; `numbers` are major and minor of each path that is named."""

    def throttled(throttles: Sequence[Throttle]) -> tuple[spec.ThrottleDevice, ...]:
        return tuple(
            spec.ThrottleDevice(major=major, minor=minor, rate=each.rate)
            for each in throttles
            for major, minor in [numbers[each.path]]
        )

    made = spec.BlockIo(
        weight=asked.weight or None,
        weight_device=tuple(
            spec.WeightDevice(major=each.major, minor=each.minor, weight=each.rate)
            for each in throttled(asked.weight_devices)
        ),
        read_bps=throttled(asked.read_bps),
        write_bps=throttled(asked.write_bps),
        read_iops=throttled(asked.read_iops),
        write_iops=throttled(asked.write_iops),
    )
    return None if made == spec.BlockIo() else made


def disks(asked: BlockIo) -> frozenset[str]:
    """Return the paths of all disks that are named."""
    lists = (
        *(asked.weight_devices, asked.read_bps, asked.read_iops),
        *(asked.write_bps, asked.write_iops),
    )
    return frozenset(each.path for throttles in lists for each in throttles)
