"""What is mounted into a container, and in which order.

Pure. Where the sources are was looked up before; see node_agent.oci.places.
"""

import posixpath
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from node_agent.oci import defaults, spec
from shared.errors import RuntimeFailureError
from shared.model import Mount, MountKind, Workload

INIT: Final = "/sbin/docker-init"  # where images that look for it expect it
_SHM: Final = "/dev/shm"  # noqa: S108 - a mount point inside the container, not a file of ours
_PROPAGATIONS: Final = frozenset({"private", "rprivate", "shared", "rshared", "slave", "rslave"})
_OWN: Final = frozenset({"/", "/proc", "/dev", "/sys"})
_MODE_MAX: Final = 0o7777


class Source(NamedTuple):
    """Where on this node a mount comes from; in memory is nowhere."""

    path: str = ""
    is_directory: bool = True


def target_of(text: str) -> str:
    """Return a target in its one spelling.

    Raises:
        RuntimeFailureError: it is not absolute, or what every container needs is there.
    """
    if not text.startswith("/"):
        raise RuntimeFailureError(f"mount at {text!r}: the target must be an absolute path")
    # What begins with two slashes is something else to POSIX, and nothing else to Linux.
    path = "/" + posixpath.normpath(text).lstrip("/")
    if path in _OWN:
        raise RuntimeFailureError(f"mount at {path}: the container itself needs that place")
    return path


def mounts(
    workload: Workload,
    ours: Iterable[spec.Mount],
    sources: Sequence[Source],
    files: Sequence[str],
    *,
    recursive_read_only: bool,
) -> tuple[spec.Mount, ...]:
    """Return all mounts, parents first; what the service says replaces what is ours.

    Args:
        workload: of the service.
        ours: what hafen puts into every container, such as /etc/hosts.
        sources: of each of the workload's mounts.
        files: where each of the workload's files is.
        recursive_read_only: the kernel and the runtime can make mounts below a mount read-only.

    Raises:
        RuntimeFailureError: a mount that cannot be.
    """
    own = (*(_fitted(mount, workload) for mount in defaults.MOUNTS), *ours)
    asked = [
        _mount(mount, source, recursive_read_only=recursive_read_only)
        for mount, source in zip(workload.mounts, sources, strict=True)
    ]
    asked += [
        file(target_of(each.target), source, "ro")
        for each, source in zip(workload.files, files, strict=True)
    ]
    seen: set[str] = set()
    for mount in asked:
        if mount.destination in seen:
            raise RuntimeFailureError(f"two mounts at {mount.destination}: only one can be there")
        seen.add(mount.destination)
    kept = [mount for mount in own if mount.destination not in seen]
    return tuple(sorted([*kept, *asked], key=_depth))


def _depth(mount: spec.Mount) -> int:
    return mount.destination.count("/")


def _fitted(mount: spec.Mount, workload: Workload) -> spec.Mount:
    """Return one of the mounts that every container has as this one needs it."""
    tuning = workload.tuning
    if mount.destination == _SHM and tuning.ipc:
        return spec.Mount(
            destination=_SHM, source=_SHM, type="bind", options=("bind", "rprivate", "nosuid")
        )
    if mount.destination == _SHM and tuning.shm_bytes:
        kept = [option for option in mount.options if not option.startswith("size=")]
        return msgspec.structs.replace(mount, options=(*kept, f"size={tuning.shm_bytes}"))
    if workload.security.privileged and mount.destination.startswith("/sys"):
        kept = [option for option in mount.options if option != "ro"]
        return msgspec.structs.replace(mount, options=tuple(kept))
    return mount


def file(destination: str, source: str, *more: str) -> spec.Mount:
    """Return the mount of one file."""
    return spec.Mount(
        destination=destination,
        source=source,
        type="bind",
        options=("bind", "rprivate", "nosuid", "nodev", *more),
    )


def propagation(wanted: Sequence[Mount]) -> str:
    """Return how mounts of the host reach the container, "" for not at all.

    Without this the runtime would cut a mount off from its peers before it binds it.
    """
    kinds = {mount.propagation.removeprefix("r") for mount in wanted}
    if "shared" in kinds:
        return "rshared"
    return "rslave" if "slave" in kinds else ""


def _mount(mount: Mount, source: Source, *, recursive_read_only: bool) -> spec.Mount:
    destination = target_of(mount.target)
    if mount.kind is MountKind.TMPFS:
        return _tmpfs(mount, destination)
    kind = mount.propagation or "rprivate"
    if kind not in _PROPAGATIONS:
        known = ", ".join(sorted(_PROPAGATIONS))
        raise RuntimeFailureError(f"mount at {destination}: {kind!r} is none of {known}")
    # crun opens what it makes read-only in this way as a directory; below a file there is nothing.
    read_only = "rro" if recursive_read_only and source.is_directory else "ro"
    access = read_only if mount.read_only else "rw"
    return spec.Mount(
        destination=destination, source=source.path, type="bind", options=("rbind", kind, access)
    )


def _tmpfs(mount: Mount, destination: str) -> spec.Mount:
    if not 0 <= mount.mode <= _MODE_MAX or mount.size_bytes < 0:
        raise RuntimeFailureError(
            f"tmpfs at {destination}: mode {mount.mode:o}, size {mount.size_bytes} cannot be"
        )
    size = (f"size={mount.size_bytes}",) if mount.size_bytes else ()
    return spec.Mount(
        destination=destination,
        source="tmpfs",
        type="tmpfs",
        options=(
            *("nosuid", "nodev", "noexec", f"mode={mount.mode or 0o1777:o}", *size),
            *(["ro"] if mount.read_only else []),
        ),
    )
