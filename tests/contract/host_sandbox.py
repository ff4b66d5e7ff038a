"""A corner of this machine where the real runtime can work and leave nothing behind.

The test process moves to a mount namespace of its own, in which only cgroup v1 is mounted (crun
refuses a mix of v1 and v2), and back. All cgroups are below one with the process id in its name.
"""

import contextlib
import ctypes
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from node_agent.network.network import NOTHING, Asked, Attachment
from shared.model import AllocId

CGROUP_PARENT: Final = f"hafen-test-{os.getpid()}"
_CGROUPS: Final = Path("/sys/fs/cgroup")
_CLONE_NEWNS: Final = 0x20000
_MS_BIND, _MS_MOVE, _MS_REC, _MS_PRIVATE = 0x1000, 0x2000, 0x4000, 0x40000
_MNT_DETACH: Final = 2
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), what)


def _mount(source: str, target: str, kind: str | None, flags: int) -> None:
    kind_bytes = kind.encode() if kind else None
    _check(_LIBC.mount(source.encode(), target.encode(), kind_bytes, flags, None), target)


@contextlib.contextmanager
def sandbox() -> Iterator[None]:
    """Be in a mount namespace with cgroup v1 only."""
    home = Path.cwd()
    outside = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _check(_LIBC.unshare(_CLONE_NEWNS), "unshare")
        _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
        if not (_CGROUPS / "cgroup.controllers").exists():
            _hide_v2()
        try:
            yield
        finally:
            remove_cgroups()
            _return(outside)
            os.chdir(home)
    finally:
        os.close(outside)


def _hide_v2() -> None:
    with tempfile.TemporaryDirectory() as spot:
        _mount("tmpfs", spot, "tmpfs", 0)
        for hierarchy in sorted(_CGROUPS.iterdir()):
            if hierarchy.name != "unified":
                target = Path(spot, hierarchy.name)
                target.mkdir()
                _mount(str(hierarchy), str(target), None, _MS_BIND)
        _mount(spot, str(_CGROUPS), None, _MS_MOVE)


def _return(outside: int) -> None:
    """Go back; the kernel refuses while a thread that is just ending shares our directory."""
    deadline = time.monotonic() + 5
    while _LIBC.setns(outside, _CLONE_NEWNS) != 0:
        if time.monotonic() > deadline:
            raise OSError(ctypes.get_errno(), "cannot leave the sandbox")
        time.sleep(0.01)


def remove_cgroups() -> None:
    """Remove the parent of all the test's cgroups."""
    parents = [_CGROUPS / CGROUP_PARENT, *_CGROUPS.glob(f"*/{CGROUP_PARENT}")]
    for parent in parents:
        if parent.exists():
            parent.rmdir()


class BareNetwork:
    """A namespace for each container, with nothing in it but loopback."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def attach(self, id_: AllocId, asked: Asked = NOTHING) -> Attachment:  # noqa: ARG002
        """Make the namespace if there is none."""
        file = self.directory / id_
        if not file.exists():
            file.touch()
            subprocess.run(  # noqa: ASYNC221 - a test waits
                ["unshare", f"--net={file}", "ip", "link", "set", "lo", "up"], check=True
            )
        return Attachment("192.0.2.1", str(file))

    async def admit(self, id_: AllocId) -> None:
        """There is nobody who could be let in."""

    async def find(self, id_: AllocId) -> Attachment | None:
        """Return the namespace."""
        file = self.directory / id_
        return Attachment("192.0.2.1", str(file)) if file.exists() else None

    async def detach(self, id_: AllocId) -> None:
        """Remove the namespace."""
        file = self.directory / id_
        if file.exists():
            _LIBC.umount2(bytes(file), _MNT_DETACH)
            file.unlink()
