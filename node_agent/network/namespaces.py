"""Network namespaces that outlive the process that made them: made, entered and removed.

Linux. A namespace belongs to a thread, so each of these runs in a thread of its own that then ends;
the process itself never leaves its namespace, and nothing forks (gRPC's threads do not survive a
fork).
"""

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

T = TypeVar("T")

_CLONE_NEWNET: Final = 0x40000000
_MS_BIND: Final = 0x1000
_MNT_DETACH: Final = 2
_libc: Final = ctypes.CDLL(None, use_errno=True)


def make(path: Path) -> None:
    """Make a network namespace and pin it at `path`.

    Raises:
        OSError: the kernel refused.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)

    def inside() -> None:
        _check(_libc.unshare(_CLONE_NEWNET))
        own = f"/proc/self/task/{threading.get_native_id()}/ns/net"
        _check(_libc.mount(own.encode(), str(path).encode(), None, _MS_BIND, None))

    in_a_thread(inside)


def enter(path: Path, work: Callable[[], T]) -> T:
    """Return what `work` returns when it runs inside the namespace pinned at `path`."""

    def inside() -> T:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            _check(_libc.setns(descriptor, _CLONE_NEWNET))
        finally:
            os.close(descriptor)
        return work()

    return in_a_thread(inside)


def is_pinned(path: Path) -> bool:
    """Say whether a namespace is pinned at `path`."""
    return path.exists() and path.stat().st_dev != path.parent.stat().st_dev


def remove(path: Path) -> None:
    """Unpin the namespace; the kernel removes it, and what is in it, once nothing runs there."""
    while is_pinned(path):
        _check(_libc.umount2(str(path).encode(), _MNT_DETACH))
    path.unlink(missing_ok=True)


def in_a_thread(work: Callable[[], T]) -> T:
    """Return what `work` returns in a new thread; its exception is raised here."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again by the caller's thread
            errors.append(error)

    thread = threading.Thread(target=run, name="netns")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
