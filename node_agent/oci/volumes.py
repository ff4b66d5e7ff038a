"""Named volumes: folders of this node that outlive containers.

    data_dir/volumes/<name>/         mode 0700, so that nobody on the node reaches what is in it
                           data/     what containers see, with the owner and mode that they gave it
                           fresh/    being filled from an image; swept by the next who fills it
    data_dir/volumes/.leaving/       being removed; swept by the next removal

What is under the name `data` is whole: it was filled under another name, written to the disk, and
then renamed. What is being removed has no name any more.
"""

import asyncio
import os
import re
import secrets
import shutil
from pathlib import Path
from typing import Final

from node_agent import process
from node_agent.oci import mounts
from shared.errors import RuntimeFailureError

# What an image has at one place is seldom more than some hundred MB.
_FILL_S: Final = 300.0
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
_PRIVATE: Final = 0o700


class Volumes:
    """The named volumes below one directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._leaving = root / ".leaving"
        # Two containers that begin at once must not both fill a volume.
        self._lock = asyncio.Lock()

    def names(self) -> tuple[str, ...]:
        """Return the volumes whose data is here, sorted."""
        try:
            homes = sorted(self._root.iterdir())
        except FileNotFoundError:
            return ()
        return tuple(home.name for home in homes if (home / "data").is_dir())

    def home(self, name: str) -> Path:
        """Return the directory of a volume.

        Raises:
            RuntimeFailureError: no volume can have that name.
        """
        if not _NAME.fullmatch(name):
            raise RuntimeFailureError(f"{name!r} cannot be the name of a volume")
        return self._root / name

    async def ready(self, home: Path, like: Path | None) -> Path:
        """Return a volume's data, made and filled if this is its first use.

        Args:
            home: of the volume.
            like: a directory whose content, owner and mode it gets; None: an empty one of root's.

        Raises:
            RuntimeFailureError: it cannot be filled.
        """
        data = home / "data"
        async with self._lock:
            if not data.is_dir():
                await self._make(home, like)
        return data

    async def _make(self, home: Path, like: Path | None) -> None:
        fresh = home / "fresh"
        await asyncio.to_thread(_begin, fresh)
        if like is not None and await asyncio.to_thread(like.is_dir):
            await _copy(like, fresh)
            await asyncio.to_thread(_finish, like, fresh)
        fresh.rename(home / "data")

    async def remove(self, name: str) -> None:
        """Remove a volume and its data, and what earlier removals have left; idempotent.

        Raises:
            RuntimeFailureError: the disk refuses.
        """
        home = self.home(name)
        try:
            if home.exists():
                self._leaving.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
                home.rename(self._leaving / secrets.token_hex(8))
            await asyncio.to_thread(self._sweep)
        except OSError as error:
            raise RuntimeFailureError(f"volume {name}: {error}") from error

    def _sweep(self) -> None:
        for left in self._leaving.iterdir() if self._leaving.exists() else ():
            shutil.rmtree(left)


async def _copy(source: Path, target: Path) -> None:
    """Copy a directory's content with owners, modes, links and attributes; cp(1) knows them all."""
    argv = ("cp", "--archive", "--reflink=auto", f"{source}/.", str(target))
    try:
        done = await process.run(*argv, deadline_s=_FILL_S)
    except TimeoutError as error:
        raise RuntimeFailureError(f"volume: not filled within {_FILL_S:.0f} s") from error
    if done.code != 0:
        raise RuntimeFailureError(f"volume: cannot be filled: {done.last_line()}")


def _begin(fresh: Path) -> None:
    fresh.parent.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    fresh.chmod(0o755)


def _finish(like: Path, fresh: Path) -> None:
    status = like.stat()
    os.chown(fresh, status.st_uid, status.st_gid)
    fresh.chmod(status.st_mode & 0o7777)
    mounts.sync_file_system(fresh)
