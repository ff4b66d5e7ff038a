"""Paths that somebody else wrote, followed without leaving the directory that they are meant for.

A container may put a symbolic link wherever it may write; followed by us it must not lead to the
node's own files.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from shared.errors import RuntimeFailureError

# As many as the kernel follows.
_LINKS_MAX: Final = 40
_STEP: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC


def within(root: Path, path: str) -> Path:
    """Return where `path` of a root file system is on this node, links followed inside of it.

    Only for what nobody changes meanwhile, such as an image. What is not there is no error.

    Raises:
        RuntimeFailureError: links that go round in circles.
    """
    pending = _steps(path)
    found: list[str] = []
    links = 0
    while pending:
        step = pending.pop()
        if step == "..":
            del found[-1:]
            continue
        here = root.joinpath(*found, step)
        if not here.is_symlink():
            found.append(step)
            continue
        links += 1
        if links > _LINKS_MAX:
            raise RuntimeFailureError(f"{path}: more than {_LINKS_MAX} symbolic links in the image")
        to = str(here.readlink())
        found = [] if to.startswith("/") else found
        pending += _steps(to)
    return root.joinpath(*found)


def _steps(path: str) -> list[str]:
    """Return the parts of a path, the last one first."""
    return [part for part in reversed(PurePosixPath(path).parts) if part not in {"/", "//"}]


def read_within(root: Path, path: str) -> str:
    """Return the text of a file of a root file system, "" if there is none."""
    try:
        return within(root, path).read_text(errors="replace")
    except OSError:
        return ""


@contextlib.contextmanager
def beneath(base: Path, path: str) -> Iterator[int]:
    """Give a descriptor of a file or directory below `base`, where anybody may change anything.

    Directories that are missing are made. No symbolic link is followed.

    Raises:
        RuntimeFailureError: `path` leads out of `base`, or over a link.
    """
    steps = PurePosixPath(path).parts
    if path.startswith("/") or ".." in steps:
        raise RuntimeFailureError(f"subpath {path!r}: it must be relative, without ..")
    fd = os.open(base, _STEP | os.O_DIRECTORY)
    try:
        for step in steps:
            fd = _step(fd, step, path)
        yield fd
    finally:
        os.close(fd)


def _step(fd: int, step: str, path: str) -> int:
    """Return a descriptor of one step further; `fd` is closed if there is one."""
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(step, 0o755, dir_fd=fd)
        below = os.open(step, _STEP, dir_fd=fd)
    except OSError as error:
        raise RuntimeFailureError(f"subpath {path!r}: {step}: {error.strerror}") from error
    if stat.S_ISLNK(os.fstat(below).st_mode):
        os.close(below)
        raise RuntimeFailureError(f"subpath {path!r}: {step} is a symbolic link")
    os.close(fd)
    return below
