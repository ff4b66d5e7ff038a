"""The part of the OCI runtime specification's config.json that hafen writes, as records.

Pure. Names follow the specification (snake_case here, camelCase on disk); what is equal to its
default is left out of the file.

Source: Open Containers Initiative, runtime-spec 1.0.2, config.md and config-linux.md.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

VERSION: Final = "1.0.2"


class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """Base of every object in config.json."""


class User(_Part, frozen=True, kw_only=True):
    """Who the process is, in numbers."""

    uid: int
    gid: int
    additional_gids: tuple[int, ...] = ()


class Capabilities(_Part, frozen=True, kw_only=True):
    """Capability sets of the process. `inheritable` and `ambient` stay empty on purpose."""

    bounding: tuple[str, ...]
    effective: tuple[str, ...] = ()
    permitted: tuple[str, ...] = ()


class Rlimit(_Part, frozen=True, kw_only=True):
    """One resource limit of the process."""

    type: str
    soft: int
    hard: int


class Process(_Part, frozen=True, kw_only=True):
    """The first process of the container."""

    user: User
    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    capabilities: Capabilities
    rlimits: tuple[Rlimit, ...]
    terminal: bool = False
    no_new_privileges: bool = False
    oom_score_adj: int | None = None


class Root(_Part, frozen=True, kw_only=True):
    """The root file system."""

    path: str
    readonly: bool = False


class Mount(_Part, frozen=True, kw_only=True):
    """One mount inside the container."""

    destination: str
    source: str
    type: str
    options: tuple[str, ...] = ()


class Namespace(_Part, frozen=True, kw_only=True):
    """A namespace to make, or with a path one to join."""

    type: str
    path: str = ""


class Device(_Part, frozen=True, kw_only=True):
    """A device node to make inside the container."""

    path: str
    type: str
    major: int
    minor: int
    file_mode: int | None = None
    uid: int | None = None
    gid: int | None = None


class DeviceRule(_Part, frozen=True, kw_only=True):
    """One line of the device cgroup; a missing number stands for all."""

    allow: bool
    access: str
    type: str = "a"
    major: int | None = None
    minor: int | None = None


class Cpu(_Part, frozen=True, kw_only=True):
    """Quota and period in microseconds; shares are a weight, 1024 for one CPU."""

    shares: int | None = None
    quota: int | None = None
    period: int | None = None
    cpus: str = ""


class Memory(_Part, frozen=True, kw_only=True):
    """Bytes. `swap` is memory and swap together; -1: no limit."""

    limit: int | None = None
    swap: int | None = None
    swappiness: int | None = None
    disable_oom_killer: bool = msgspec.field(default=False, name="disableOOMKiller")


class WeightDevice(_Part, frozen=True, kw_only=True):
    """A block device's own weight."""

    major: int
    minor: int
    weight: int


class ThrottleDevice(_Part, frozen=True, kw_only=True):
    """A block device's limit: bytes or operations a second."""

    major: int
    minor: int
    rate: int


class BlockIo(_Part, frozen=True, kw_only=True):
    """How disks are shared."""

    weight: int | None = None
    weight_device: tuple[WeightDevice, ...] = ()
    read_bps: tuple[ThrottleDevice, ...] = msgspec.field(default=(), name="throttleReadBpsDevice")
    write_bps: tuple[ThrottleDevice, ...] = msgspec.field(default=(), name="throttleWriteBpsDevice")
    read_iops: tuple[ThrottleDevice, ...] = msgspec.field(default=(), name="throttleReadIOPSDevice")
    write_iops: tuple[ThrottleDevice, ...] = msgspec.field(
        default=(), name="throttleWriteIOPSDevice"
    )


class Pids(_Part, frozen=True, kw_only=True):
    """How many processes and threads."""

    limit: int


class LinuxResources(_Part, frozen=True, kw_only=True):
    """What the cgroup enforces."""

    devices: tuple[DeviceRule, ...]
    cpu: Cpu | None = None
    memory: Memory | None = None
    pids: Pids | None = None
    block_io: BlockIo | None = msgspec.field(default=None, name="blockIO")


class SyscallArg(_Part, frozen=True, kw_only=True):
    """A condition on one argument of a system call."""

    index: int
    value: int
    value_two: int = 0
    op: str


class SyscallRule(_Part, frozen=True, kw_only=True):
    """What happens to some system calls."""

    names: tuple[str, ...]
    action: str
    errno_ret: int | None = None
    args: tuple[SyscallArg, ...] = ()


class Seccomp(_Part, frozen=True, kw_only=True):
    """The system call filter."""

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    syscalls: tuple[SyscallRule, ...] = ()


class Linux(_Part, frozen=True, kw_only=True):
    """What only Linux has."""

    cgroups_path: str
    namespaces: tuple[Namespace, ...]
    resources: LinuxResources
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    sysctl: Mapping[str, str] = {}
    seccomp: Seccomp | None = None
    devices: tuple[Device, ...] = ()
    rootfs_propagation: str = ""


class Spec(_Part, frozen=True, kw_only=True):
    """A whole config.json."""

    oci_version: str
    process: Process
    root: Root
    mounts: tuple[Mount, ...]
    linux: Linux
    hostname: str = ""
    annotations: Mapping[str, str] = {}


_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


def encode(spec: Spec) -> bytes:
    """Return the bytes of config.json; equal specs give equal bytes."""
    return _ENCODER.encode(spec)
