"""How the kernel treats a container's processes: the keys that fill `Tuning`, and older limits.

Pure. Compose has older words for parts of `deploy.resources`; `Older` keeps them apart until both
are known.
"""

import re
from typing import Final

import msgspec

from deploy.compose.fields import (
    Cursor,
    Field,
    Table,
    amount,
    each,
    items,
    pairs,
    refused,
    sound_record,
    text,
    truth,
    value_text,
    whole,
)
from deploy.compose.tree import Mapping, quoted
from deploy.compose.units import byte_count, cpu_millis
from shared.model import BlockIo, Throttle, Ulimit

PIDS_MAX: Final = 1 << 22  # the kernel's own limit
MEMORY_LIMIT_BYTES_MIN: Final = 6 * 1024 * 1024  # Docker's: with less, a container does not start
SHARES_MAX: Final = 262_144  # the kernel's own limit

_CPUS: Final = re.compile(r"[0-9]{1,4}(?:-[0-9]{1,4})?(?:,[0-9]{1,4}(?:-[0-9]{1,4})?)*")
_SYSCTL: Final = re.compile(r"[a-z0-9_]+(?:[./][A-Za-z0-9_-]+)+")
_ULIMITS: Final = frozenset(
    {"core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc"}
    | {"rss", "rtprio", "rttime", "sigpending", "stack", "as"}
)
_LIMIT_MAX: Final = 1 << 62
_INT: Final = re.compile(r"-?[0-9]{1,18}")


class Older(msgspec.Struct, frozen=True):
    """Compose's older words for what `deploy` says today; None: not written."""

    cpu_millis: int | None = None
    cpu_quota_us: int | None = None
    cpu_period_us: int | None = None
    memory_bytes: int | None = None
    memory_reserved_bytes: int | None = None
    pids: int | None = None
    replicas: int | None = None
    memory_swap_bytes: int | None = None


class _Limit(msgspec.Struct, frozen=True):
    soft: int | None = None
    hard: int | None = None


class _Rate(msgspec.Struct, frozen=True):
    path: str = ""
    rate: int = 0


def number(at: Cursor, least: int, most: int) -> int:
    """Return a whole number that may be negative."""
    node = at.scalar("a whole number")
    if not _INT.fullmatch(node.text) or not least <= int(node.text) <= most:
        raise at.expected(f"a whole number from {least} to {most}")
    return int(node.text)


def memory_limit(at: Cursor) -> int:
    """Return bytes that a container can at least be started with; 0: no limit."""
    count = amount(at, byte_count)
    if 0 < count < MEMORY_LIMIT_BYTES_MIN:
        raise at.refuse(f"{count} bytes are too few to start a container; is the unit missing?")
    return count


def cpus(at: Cursor) -> int:
    """Return thousandths of a CPU."""
    return amount(at, cpu_millis)


def memory(at: Cursor) -> int:
    """Return bytes."""
    return amount(at, byte_count)


def _swap(at: Cursor) -> int:
    return -1 if at.scalar("a size").text == "-1" else memory(at)


def _pids(at: Cursor) -> int:
    return max(0, number(at, -1, PIDS_MAX))  # -1 says no limit, as 0 does


def _cpuset(at: Cursor) -> str:
    found = value_text(at)
    if found and not _CPUS.fullmatch(found):
        raise at.expected('CPUs such as "0-2,4"')
    return found


def _sysctls(at: Cursor) -> dict[str, str]:
    found = pairs(at, lambda _: None)
    for name in found:
        if not _SYSCTL.fullmatch(name):
            raise at.refuse(f"{quoted(name)} is no name of a sysctl such as net.core.somaxconn")
    return found


def _ulimits(at: Cursor) -> tuple[Ulimit, ...]:
    return each([] if at.is_null() else at.entries(), _ulimit)


def _ulimit(at: Cursor) -> Ulimit:
    if at.key not in _ULIMITS:
        raise at.refuse(f"there is no limit {quoted(at.key)}; one is nofile")
    if not isinstance(at.node, Mapping):
        both = number(at, -1, _LIMIT_MAX)
        return Ulimit(name=at.key, soft=both, hard=both)
    found = sound_record(at, _Limit(), ULIMIT)
    if found.soft is None or found.hard is None:
        raise at.refuse("soft and hard are both needed")
    if found.hard != -1 and not -1 < found.soft <= found.hard:
        raise at.refuse(f"soft is {found.soft}, more than hard, {found.hard}")
    return Ulimit(name=at.key, soft=found.soft, hard=found.hard)


def _own_or_host(what: str, *same: str) -> Field:
    """Return the row of a namespace: of its own, or the node's."""

    def parse(at: Cursor) -> str:
        word = text(at)
        if word in {"", *same}:
            return ""
        if word != "host":
            raise at.refuse(
                f"{quoted(word)}: a container has {what} of its own or, with host, the node's; "
                "containers of other services may be on other nodes"
            )
        return word

    return Field(f"tuning.{what}", parse)


def _ipc(at: Cursor) -> str:
    if text(at) == "shareable":
        at.warn("no other container can share it")
        return ""
    field = _own_or_host("ipc", "private", "none")
    found = field.parse(at)
    return found if isinstance(found, str) else ""


def _block_io(at: Cursor) -> BlockIo:
    return sound_record(at, BlockIo(), BLOCK_IO)


def _weight(at: Cursor) -> int:
    weight = whole(at, 0, 1000)
    if 0 < weight < 10:  # noqa: PLR2004 - the kernel's own limit
        raise at.expected("a weight from 10 to 1000, or 0")
    return weight


def _throttles(at: Cursor) -> tuple[Throttle, ...]:
    def one(child: Cursor) -> Throttle:
        found = sound_record(child, _Rate(), RATE)
        if not found.path.startswith("/"):
            raise child.expected("path: the absolute path of a device")
        return Throttle(path=found.path, rate=found.rate)

    return each(items(at), one)


def _weights(at: Cursor) -> tuple[Throttle, ...]:
    def one(child: Cursor) -> Throttle:
        found = sound_record(child, _Rate(), WEIGHT)
        if not found.path.startswith("/"):
            raise child.expected("path: the absolute path of a device")
        return Throttle(path=found.path, rate=found.rate)

    return each(items(at), one)


_REAL_TIME: Final = "hafen gives out no real-time shares; use deploy.resources.reservations.cpus"
_WINDOWS: Final = "this is for Windows; use deploy.resources.limits.cpus"
RATE: Final[Table] = {"path": Field("path", text), "rate": Field("rate", memory)}
WEIGHT: Final[Table] = {"path": Field("path", text), "weight": Field("rate", _weight)}
BLOCK_IO: Final[Table] = {
    "weight": Field("weight", _weight),
    "weight_device": Field("weight_devices", _weights),
    "device_read_bps": Field("read_bps", _throttles),
    "device_read_iops": Field("read_iops", _throttles),
    "device_write_bps": Field("write_bps", _throttles),
    "device_write_iops": Field("write_iops", _throttles),
}
ULIMIT: Final[Table] = {
    "soft": Field("soft", lambda at: number(at, -1, _LIMIT_MAX)),
    "hard": Field("hard", lambda at: number(at, -1, _LIMIT_MAX)),
}
TUNING: Final[Table] = {
    "cpuset": Field("tuning.cpuset", _cpuset),
    "cpu_shares": Field("tuning.cpu_shares", lambda at: whole(at, 0, SHARES_MAX)),
    "mem_swappiness": Field("tuning.swappiness", lambda at: whole(at, 0, 100)),
    "oom_score_adj": Field("tuning.oom_score_adj", lambda at: number(at, -1000, 1000)),
    "oom_kill_disable": Field("tuning.oom_kill_disable", truth),
    "blkio_config": Field("tuning.block_io", _block_io),
    "shm_size": Field("tuning.shm_bytes", memory),
    "ulimits": Field("tuning.ulimits", _ulimits),
    "sysctls": Field("tuning.sysctls", _sysctls),
    "pid": _own_or_host("pid"),
    "ipc": Field("tuning.ipc", _ipc),
    "uts": _own_or_host("uts"),
    "cgroup": _own_or_host("cgroup", "private"),
    "cgroup_parent": refused("a container's cgroup is hafen's own; leave it out"),
    "cpus": Field("older.cpu_millis", cpus),
    "cpu_quota": Field("older.cpu_quota_us", lambda at: number(at, -1, 1 << 40)),
    "cpu_period": Field("older.cpu_period_us", lambda at: whole(at, 1_000, 1_000_000)),
    "mem_limit": Field("older.memory_bytes", memory_limit),
    "mem_reservation": Field("older.memory_reserved_bytes", memory),
    "memswap_limit": Field("older.memory_swap_bytes", _swap),
    "pids_limit": Field("older.pids", _pids),
    "scale": Field("older.replicas", lambda at: whole(at, 0, 10_000)),
    "cpu_rt_period": refused(_REAL_TIME),
    "cpu_rt_runtime": refused(_REAL_TIME),
    "cpu_count": refused(_WINDOWS),
    "cpu_percent": refused(_WINDOWS),
}
