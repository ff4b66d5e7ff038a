"""The API's unix socket: only its owner may connect; a dead one is replaced, a living one not."""

import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from shared.errors import HostError

_MODE: Final = 0o600
# sockaddr_un holds 108 bytes, the last of them zero.
_PATH_BYTES_MAX: Final = 107
_BACKLOG: Final = 128
_PROBE_S: Final = 1.0


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    """Listen at `path` inside the `with`; afterwards it is gone, unless somebody replaced it.

    Raises:
        HostError: another process listens there, something else is there, or it cannot be made.
    """
    try:
        made = _make(path)
    except OSError as error:
        raise HostError(f"cannot listen at {path}: {error.strerror or error}") from error
    identity = _identity(path)
    try:
        with made:
            yield made
    finally:
        # Nobody replaces it between the two calls: the supervisor's lock sees to that.
        if _identity(path) == identity:
            path.unlink()


def _make(path: Path) -> socket.socket:
    # Bound beside its place and moved there: nobody sees it with another mode, or not listening.
    beside = path.with_name(path.name + ".new")
    if len(os.fsencode(beside)) > _PATH_BYTES_MAX:
        raise HostError(
            f"{path}: the path of a unix socket has at most {_PATH_BYTES_MAX - 4} bytes"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    _refuse_if_used(path)
    beside.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.bind(str(beside))
        beside.chmod(_MODE)
        made.listen(_BACKLOG)
        made.settimeout(0.0)
        beside.replace(path)
    except OSError:
        made.close()
        raise
    return made


def _refuse_if_used(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise HostError(f"{path} is there and is no socket; move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return  # left behind by a process that was killed
    raise HostError(f"another hafen already answers at {path}")


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
