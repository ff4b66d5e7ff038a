"""What is inside an image archive: which of the two formats, and which image.

Reads a tar file; writes nothing. The content is not trusted: what is not an archive of exactly one
named image is refused.
"""

import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec

from node_agent.oci.reference import Reference
from shared.errors import ImageError

_INDEX_BYTES_MAX: Final = 4 * 1024 * 1024
_MEMBERS_MAX: Final = 100_000
# Where tools put the name: containerd and Docker the full one, others only a tag or the full one.
_NAME_KEYS: Final = ("io.containerd.image.name", "org.opencontainers.image.ref.name")

T = TypeVar("T")


class Archive(NamedTuple):
    """An image archive. `transport` is what skopeo calls the format; `path` is absolute."""

    path: Path
    transport: str
    reference: Reference


class _DockerImage(msgspec.Struct, frozen=True, rename="pascal"):
    repo_tags: tuple[str, ...] | None = None


class _Descriptor(msgspec.Struct, frozen=True):
    annotations: Mapping[str, str] = {}


class _Index(msgspec.Struct, frozen=True):
    manifests: tuple[_Descriptor, ...]


def inspect(archive: Path) -> Archive:
    """Return what `archive` holds. Blocks for as long as reading the file takes.

    Raises:
        ImageError: not an image archive, or not one image with a name; says which.
    """
    texts = _read(archive, frozenset({"manifest.json", "index.json"}))
    if "manifest.json" in texts:
        images = _decode(texts["manifest.json"], tuple[_DockerImage, ...], archive)
        names = [tag for image in images for tag in image.repo_tags or ()]
        return Archive(archive.absolute(), "docker-archive", _only(names, len(images), archive))
    if "index.json" in texts:
        index = _decode(texts["index.json"], _Index, archive)
        names = [_name(entry.annotations) for entry in index.manifests]
        return Archive(
            archive.absolute(), "oci-archive", _only([n for n in names if n], len(names), archive)
        )
    raise ImageError(f"{archive}: neither a docker-archive nor an oci-archive")


def _read(archive: Path, wanted: frozenset[str]) -> dict[str, bytes]:
    """Return the contents of the `wanted` members that are there."""
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(archive, "r:*") as tar:
            for count, member in enumerate(tar):
                if count > _MEMBERS_MAX:
                    raise ImageError(f"{archive}: more than {_MEMBERS_MAX} files")
                name = member.name.removeprefix("./")
                if name in wanted and member.isfile() and member.size <= _INDEX_BYTES_MAX:
                    file = tar.extractfile(member)
                    found[name] = file.read() if file else b""
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ImageError(f"{archive}: cannot be read as a tar archive: {error}") from error
    return found


def _decode(text: bytes, kind: type[T], archive: Path) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise ImageError(f"{archive}: its list of images is damaged: {error}") from error


def _name(annotations: Mapping[str, str]) -> str:
    return next((annotations[key] for key in _NAME_KEYS if annotations.get(key)), "")


def _only(names: list[str], images: int, archive: Path) -> Reference:
    """Return the one name of the one image; of several names it is known by the first."""
    if images != 1:
        raise ImageError(f"{archive}: holds {images} images, not 1")
    if not names:
        raise ImageError(f"{archive}: its image has no name; save it with NAME:TAG")
    return Reference.parse(names[0])
