"""Images on the disk that nobody asks for: listed, and removed with what only they had.

The layout is that of `node_agent.oci.images`. What goes loses its name first: a removal that is cut
off leaves files that the next one, or the sweep of incoming/, takes away.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Collection, Iterable
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

import msgspec

from node_agent.oci.image import Image
from node_agent.oci.images import Named
from node_agent.stale import Held

_REFERENCES: Final = Path("images", "references")
_BLOBS: Final = Path("images", "blobs", "sha256")
_INCOMING: Final = Path("images", "incoming")
_UNPACKED: Final = Path("unpacked")


def held(data_dir: Path) -> tuple[Held, ...]:
    """Return every image that has a name here; one whose record is damaged is not one."""
    return tuple(one for _, one in _named(data_dir))


def touch(data_dir: Path, names: AbstractSet[str], now_s: float) -> None:
    """Note that images are asked for now."""
    for file, one in _named(data_dir):
        if one.name in names:
            os.utime(file, (now_s, now_s))


def remove(data_dir: Path, names: Collection[str], running: AbstractSet[str]) -> bool:
    """Forget names, then remove files and layers that no other image and no container has.

    Args:
        data_dir: the agent's.
        names: full names of images.
        running: digests that containers are made of.

    Returns:
        False: images are being fetched at this moment; nothing was done.
    """
    lock = os.open(data_dir / "images" / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for file, one in _named(data_dir):
            if one.name in names:
                file.unlink(missing_ok=True)
        (data_dir / _INCOMING).mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = {one.digest for _, one in _named(data_dir)} | running
        for folder in _children(data_dir / _UNPACKED):
            if f"sha256:{folder.name}" not in kept:
                gone = data_dir / _INCOMING / secrets.token_hex(8)
                folder.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)
        _remove_blobs(data_dir)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


def _remove_blobs(data_dir: Path) -> None:
    """Remove layers of no image that is unpacked here; they would be fetched again."""
    kept: set[str] = set()
    for folder in _children(data_dir / _UNPACKED):
        try:
            image = msgspec.json.decode((folder / "image.json").read_bytes(), type=Image)
        except (OSError, msgspec.DecodeError):
            return  # Nobody knows what it has: then all may be in use.
        if not image.blobs:
            return  # As above: unpacked before this was noted.
        kept |= {blob.removeprefix("sha256:") for blob in image.blobs}
    for blob in _children(data_dir / _BLOBS):
        if blob.name not in kept:
            blob.unlink(missing_ok=True)


def _named(data_dir: Path) -> Iterable[tuple[Path, Held]]:
    found = []
    for file in _children(data_dir / _REFERENCES):
        try:
            named = msgspec.json.decode(file.read_bytes(), type=Named)
            found.append((file, Held(named.reference, named.digest, file.stat().st_mtime)))
        except (OSError, msgspec.DecodeError):
            continue
    return found


def _children(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
