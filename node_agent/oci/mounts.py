"""Mounting by system call: a subprocess for each mount would slow every container's start.

The calls block for as long as the disk takes; `unmount` writes back what is dirty, so shells call
it in a thread.
"""

import ctypes
import errno
import os
import re
from pathlib import Path
from typing import Final

from shared.errors import RuntimeFailureError

_MNT_DETACH: Final = 2
_MS_BIND: Final = 0x1000
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def overlay(lower: Path, upper: Path, work: Path, target: Path) -> None:
    """Mount `upper` over `lower` at `target`; what is written goes to `upper`. Idempotent.

    Raises:
        RuntimeFailureError: the kernel refused, perhaps for the file system of `upper`.
    """
    if target.is_mount():
        return
    options = f"lowerdir={_escaped(lower)},upperdir={_escaped(upper)},workdir={_escaped(work)}"
    if _LIBC.mount(b"overlay", bytes(target), b"overlay", 0, options.encode()) != 0:
        code = ctypes.get_errno()
        raise RuntimeFailureError(
            f"cannot mount the root file system at {target}: {os.strerror(code)}"
            f" (data_dir must be on ext4, xfs or btrfs, and no overlay itself)"
        )


def bind(source: Path, target: Path) -> None:
    """Bind `source` to `target`, with nothing that is mounted below it.

    Raises:
        RuntimeFailureError: the kernel refused.
    """
    if _LIBC.mount(bytes(source), bytes(target), None, _MS_BIND, None) != 0:
        raise RuntimeFailureError(f"cannot bind to {target}: {os.strerror(ctypes.get_errno())}")


def below(directory: Path) -> tuple[Path, ...]:
    """Return every mount point below `directory`, the innermost first.

    The kernel lists them by paths without links: a name that we were given may have some.
    """
    lines = Path("/proc/thread-self/mountinfo").read_text().splitlines()
    points = (_plain(line.split()[4]) for line in lines)
    found = [Path(point) for point in points if point.startswith(f"{directory.resolve()}/")]
    return tuple(reversed(found))


def _plain(text: str) -> str:
    """Return a path of mountinfo with its escapes (octal, of blanks and backslashes) undone."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def unmount(target: Path) -> None:
    """Unmount `target` if it is a mount; one that is busy goes when its last user does.

    Raises:
        RuntimeFailureError: the kernel refused.
    """
    if _LIBC.umount2(bytes(target), 0) == 0:
        return
    if ctypes.get_errno() == errno.EBUSY and _LIBC.umount2(bytes(target), _MNT_DETACH) == 0:
        return
    code = ctypes.get_errno()
    if code not in {errno.EINVAL, errno.ENOENT}:  # not a mount, or not even a directory
        raise RuntimeFailureError(f"cannot unmount {target}: {os.strerror(code)}")


def unmount_below(directory: Path) -> None:
    """Unmount everything below `directory`, the innermost first.

    Raises:
        RuntimeFailureError: the kernel refused.
    """
    for point in below(directory):
        unmount(point)


def sync_file_system(path: Path) -> None:
    """Return when everything on the file system that holds `path` is on the disk.

    Raises:
        OSError: the disk failed.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if _LIBC.syncfs(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(path))
    finally:
        os.close(fd)


def _escaped(path: Path) -> str:
    """Return the path with the characters made harmless that overlay's options give a meaning."""
    text = str(path)
    for character in ("\\", ":", ","):
        text = text.replace(character, "\\" + character)
    return text
