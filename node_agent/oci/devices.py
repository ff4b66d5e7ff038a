"""Device nodes of this machine: what they are, and which of the generic ones are free."""

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from node_agent.oci import spec
from shared.errors import RuntimeFailureError
from shared.model import Security

Granted = tuple[spec.Device, str]
_DEV: Final = Path("/dev")
_ALL: Final = "rwm"
# The runtime makes these by itself, or they belong to a file system that it mounts there.
_NOT_COPIED: Final = frozenset(
    {"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx"}
    | {"pts", "shm", "mqueue", "fd"}
)


def granted(security: Security, generic: Iterable[str]) -> tuple[Granted, ...]:
    """Return the device nodes that a container gets, each with what may be done to it.

    Args:
        security: what the service says.
        generic: paths of generic devices that the container was given.

    Raises:
        RuntimeFailureError: one of them is not there, or no device.
    """
    found: dict[str, Granted] = {}
    for path in _everything() if security.privileged else ():
        found[str(path)] = (_node(path, str(path)), _ALL)
    for text in generic:
        found[text] = (_node(Path(text), text), _ALL)
    for asked in security.devices:
        source, target = Path(asked.source), asked.target or asked.source
        for path in _below(source):
            at = os.path.normpath(f"{target}/{path.relative_to(source)}")
            found[at] = (_node(path, at), asked.permissions)
    return tuple(found[path] for path in sorted(found))


def numbers(paths: Iterable[str]) -> Mapping[str, tuple[int, int]]:
    """Return major and minor of each disk.

    Raises:
        RuntimeFailureError: one is not there, or no disk.
    """
    found = {}
    for path in sorted(paths):
        node = _node(Path(path), path)
        if node.type != "b":
            raise RuntimeFailureError(f"{path} is not a disk: limits of disks need a block device")
        found[path] = (node.major, node.minor)
    return found


def free(
    wanted: Mapping[str, int], there: Mapping[str, tuple[str, ...]], taken: Iterable[str]
) -> tuple[str, ...]:
    """Return generic devices for a container, the first free ones of each kind.

    Args:
        wanted: how many of each kind.
        there: the node's devices by kind.
        taken: those that containers have.

    Raises:
        RuntimeFailureError: too few are free; with the numbers.
    """
    gone = frozenset(taken)
    found: list[str] = []
    for kind, count in sorted(wanted.items()):
        left = [path for path in there.get(kind, ()) if path not in gone]
        if len(left) < count:
            raise RuntimeFailureError(
                f"device {kind}: {count} wanted, {len(left)} of {len(there.get(kind, ()))} free"
            )
        found += left[:count]
    return tuple(found)


def _below(source: Path) -> tuple[Path, ...]:
    """Return a device, or all that are in a directory such as /dev/snd."""
    if not source.is_dir():
        return (source,)
    return tuple(path for path in sorted(source.rglob("*")) if _is_device(path))


def _everything() -> tuple[Path, ...]:
    tops = [path for path in sorted(_DEV.iterdir()) if path.name not in _NOT_COPIED]
    return tuple(
        path for top in tops if not top.is_symlink() for path in _below(top) if _is_device(path)
    )


def _is_device(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode)


def _node(source: Path, target: str) -> spec.Device:
    try:
        status = source.stat()
    except OSError as error:
        raise RuntimeFailureError(f"device {source}: {error.strerror}") from error
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)):
        raise RuntimeFailureError(f"device {source}: it is no device node")
    return spec.Device(
        path=target,
        type="c" if stat.S_ISCHR(status.st_mode) else "b",
        major=os.major(status.st_rdev),
        minor=os.minor(status.st_rdev),
        file_mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
    )
