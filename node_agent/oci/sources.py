"""What a container mounts, made ready on this node before the container is."""

import asyncio
from pathlib import Path

from node_agent.oci import filesystem, mounts, places
from node_agent.oci.files import Files
from node_agent.oci.filesystem import Source
from node_agent.oci.volumes import Volumes
from shared.errors import RuntimeFailureError
from shared.model import Mount, MountKind, Workload


async def ready(
    volumes: Volumes, files: Files, workload: Workload, lower: Path
) -> tuple[Source, ...]:
    """Return the source of each of the workload's mounts.

    Args:
        volumes: of this node.
        files: of the container.
        workload: whose mounts.
        lower: the image's root file system, from which new volumes are filled.

    Raises:
        RuntimeFailureError: one of them cannot be had; names it.
    """
    found = []
    for number, mount in enumerate(workload.mounts):
        match mount.kind:
            case MountKind.TMPFS:
                found.append(Source())
            case MountKind.BIND:
                found.append(await asyncio.to_thread(_bound, mount))
            case MountKind.VOLUME:
                found.append(await _volume(volumes, files, number, mount, lower))
    return tuple(found)


def _bound(mount: Mount) -> Source:
    source = Path(mount.source)
    if not source.is_absolute() or ".." in source.parts:
        raise RuntimeFailureError(
            f"bind mount {mount.source!r}: write an absolute path of the node"
        )
    try:
        if not source.exists():
            if not mount.create:
                raise RuntimeFailureError(f"bind mount {source}: this node has no such path")
            source.mkdir(mode=0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise RuntimeFailureError(f"bind mount {source}: {error.strerror}") from error
    return Source(str(source), source.is_dir())


async def _volume(volumes: Volumes, files: Files, number: int, mount: Mount, lower: Path) -> Source:
    home = volumes.home(mount.source) if mount.source else files.volume(number)
    is_filled = mount.copy and not mount.subpath
    like = places.within(lower, filesystem.target_of(mount.target)) if is_filled else None
    data = await volumes.ready(home, like)
    if not mount.subpath:
        return Source(str(data))
    return await asyncio.to_thread(_pinned, data, mount.subpath, files.pin(number))


def _pinned(data: Path, subpath: str, pin: Path) -> Source:
    """Bind a part of a volume to a place of our own: nobody can put a link in its way any more."""
    with places.beneath(data, subpath) as fd:
        pin.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        source = Path(f"/proc/self/fd/{fd}")
        is_directory = source.is_dir()
        if is_directory:
            pin.mkdir(exist_ok=True)
        else:
            pin.touch()
        mounts.bind(source, pin)
    return Source(str(pin), is_directory)
