"""Hosts' disks of a limited size: an ext4 file system in a sparse file, which can be filled.

Without a limit a host's disk is a directory of the machine's: filling it would fill the machine.
"""

import errno
import os
from pathlib import Path
from typing import Final

from deploy.lab import command
from deploy.lab.plan import Paths
from shared.errors import HostError, SpecError

# etcd's log alone preallocates 64 MB; images and layers come on top.
DISK_MIB_MIN: Final = 256
# Sparse: it costs what is written. More than this per host is no laboratory's disk.
DISK_MIB_MAX: Final = 16 * 1024
_BALLAST: Final = "ballast"
_MIB: Final = 1024 * 1024
# The last blocks are taken one by one: the file system needs some of them for its own lists.
_PIECES: Final = (64 * _MIB, _MIB, 4096)


def check_size(disk_mib: int | None) -> None:
    """Refuse a size on which a host cannot run.

    Raises:
        SpecError: with the bounds.
    """
    if disk_mib is not None and not DISK_MIB_MIN <= disk_mib <= DISK_MIB_MAX:
        raise SpecError(f"a host's disk has {DISK_MIB_MIN} to {DISK_MIB_MAX} MiB, not {disk_mib}")


async def make(paths: Paths, node: str, disk_mib: int) -> None:
    """Put a file system of `disk_mib` on the host's disk directory; it outlives a power loss."""
    image, disk = paths.image(node), paths.disk(node)
    with image.open("wb") as file:
        file.truncate(disk_mib * _MIB)
    # No blocks kept back for root, who is the one that fills it.
    await command.run(["mkfs.ext4", "-q", "-m", "0", "-E", "lazy_itable_init=1", str(image)])
    await command.run(["mount", "-o", "loop,nosuid,nodev,noatime", str(image), str(disk)])
    disk.chmod(0o700)


def fill(paths: Paths, node: str) -> int:
    """Take all that is free on a host's disk; return how many bytes that were.

    Raises:
        HostError: its disk has no limit of its own.
    """
    disk = paths.disk(node)
    if not disk.is_mount():
        raise HostError(
            f"{node} shares the machine's disk: `hafen lab up --disk-mib 1024` gives each its own"
        )
    with (disk / _BALLAST).open("ab") as file:
        size = before = file.tell()
        for piece in _PIECES:
            while _took(file.fileno(), size, piece):
                size += piece
    return size - before


def free(paths: Paths, node: str) -> None:
    """Give back what `fill` took; fine if it took nothing."""
    (paths.disk(node) / _BALLAST).unlink(missing_ok=True)


def _took(descriptor: int, offset: int, length: int) -> bool:
    try:
        os.posix_fallocate(descriptor, offset, length)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        os.ftruncate(descriptor, offset)  # what it got before it found that there is no more
        return False
    return True


async def remove(paths: Paths) -> None:
    """Unmount every disk of a lab; its hosts must be off."""
    for disk in _mounted(paths):
        # Lazily: a person's shell that stands in there must not keep the lab.
        await command.run(["umount", "--lazy", str(disk)])


def _mounted(paths: Paths) -> list[Path]:
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(line.split()[4]) for line in lines]
    return [point for point in points if point.is_relative_to(paths.state)]
