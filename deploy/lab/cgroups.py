"""The cgroups of labs' hosts: in every hierarchy of the machine, version 1, 2 or both at once.

A host gets the directory <where we are>/hafen-lab/<lab>/<host> in each hierarchy and sees it as the
root of its own. Where a cgroup limits this process itself, the lab is below it and so limited too.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from deploy.host.poll import until
from deploy.lab.plan import CGROUP
from shared.errors import HostError

# What a container runtime needs in order to enforce limits.
CONTROLLERS: Final = frozenset({"cpu", "memory", "pids"})
# On version 2 a cgroup with processes can have no controllers for its children; a host's own
# processes are therefore in a leaf of their own, as systemd's are in init.scope.
LEAF: Final = "init"
_REMOVE_S: Final = 5.0


class Hierarchy(msgspec.Struct, frozen=True, kw_only=True):
    """One mounted cgroup hierarchy.

    Attributes:
        mount: where it is mounted.
        options: mount options that make the same hierarchy appear elsewhere; empty for version 2.
        base: the directory that labs go below, seen from here.
    """

    mount: Path
    version: int
    options: str
    base: Path

    def lab(self, lab: str) -> Path:
        """Return the lab's directory."""
        return self.base / CGROUP / lab


def hierarchies(mountinfo: str, membership: str) -> tuple[Hierarchy, ...]:
    """Return the machine's cgroup hierarchies. Pure.

    Args:
        mountinfo: the text of /proc/self/mountinfo.
        membership: the text of /proc/self/cgroup.
    """
    own = dict(line.split(":", 2)[1:] for line in membership.splitlines())
    found: dict[str, Hierarchy] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        root, mount = left.split()[3:5]
        kind, _, options = right.split()[:3]
        if kind == "cgroup2":
            key, version, options = "", 2, ""
        elif kind == "cgroup":
            key = ",".join(o for o in options.split(",") if o not in {"rw", "ro", "xattr"})
            version, options = 1, key
        else:
            continue
        if key in own and key not in found:
            base = Path(mount) / _below(own[key], root)
            found[key] = Hierarchy(mount=Path(mount), version=version, options=options, base=base)
    return tuple(found.values())


def _below(path: str, root: str) -> str:
    """Return `path` relative to the mounted part of the hierarchy; "" if it lies outside."""
    inside = os.path.relpath(path, root)
    return "" if inside.startswith("..") or inside == "." else inside


def read_hierarchies() -> tuple[Hierarchy, ...]:
    """Return the hierarchies as this process sees them; on version 2 `base` is made usable.

    Raises:
        HostError: there are no cgroups, or none that can have children with limits.
    """
    found = hierarchies(
        Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()
    )
    if not found:
        raise HostError("no cgroups are mounted on this machine: mount them at /sys/fs/cgroup")
    if any(each.version == 1 for each in found):
        # Hybrid: the controllers are version 1's, and version 2 only follows processes.
        return found
    return tuple(msgspec.structs.replace(each, base=_delegated(each)) for each in found)


def _delegated(hierarchy: Hierarchy, wanted: frozenset[str] = CONTROLLERS) -> Path:
    """Return the nearest cgroup above us (or ours) whose children can have the controllers."""
    place = hierarchy.base
    while place != hierarchy.mount:
        if wanted <= set((place / "cgroup.subtree_control").read_text().split()):
            return place
        place = place.parent
    lacking = wanted - set((place / "cgroup.controllers").read_text().split())
    if lacking:
        raise HostError(f"{place} has no cgroup controller {', '.join(sorted(lacking))}")
    if not wanted <= set((place / "cgroup.subtree_control").read_text().split()):
        _enable(place, wanted)
    return place


def _enable(place: Path, wanted: frozenset[str]) -> None:
    """Let children of `place` have the controllers; in a container, processes step down first.

    Source: the kernel's cgroup-v2 documentation, "No Internal Process Constraint".
    """
    if (place / "cgroup.type").exists():  # the true root has none, and no such rule
        leaf = place / f"{CGROUP}-outside"
        leaf.mkdir(exist_ok=True)
        for pid in (place / "cgroup.procs").read_text().split():
            _move(int(pid), leaf)
    text = " ".join(f"+{name}" for name in sorted(wanted))
    (place / "cgroup.subtree_control").write_text(text)


def _move(pid: int, cgroup: Path) -> None:
    try:
        (cgroup / "cgroup.procs").write_text(str(pid))
    except ProcessLookupError:
        return  # it has ended since the list was read


def make(hierarchies_: Sequence[Hierarchy], lab: str, node: str) -> tuple[Path, ...]:
    """Make a host's directories and return them, in the order of the hierarchies; idempotent."""
    made = []
    for hierarchy in hierarchies_:
        place = hierarchy.base
        for name in (CGROUP, lab, node):
            _pass_on(hierarchy, place)
            place /= name
            # Another lab's `down` may remove the common directory just when it looks empty.
            place.mkdir(parents=True, exist_ok=True)
            _fill_cpuset(place)
        made.append(place)
    return tuple(made)


def _pass_on(hierarchy: Hierarchy, place: Path) -> None:
    control = place / "cgroup.subtree_control"
    if hierarchy.version == 2 and (place / "cgroup.type").exists():  # noqa: PLR2004 - version 2
        available = set((place / "cgroup.controllers").read_text().split())
        wanted = sorted(available - set(control.read_text().split()))
        if wanted and place != hierarchy.base:
            control.write_text(" ".join(f"+{name}" for name in wanted))


def _fill_cpuset(place: Path) -> None:
    """Copy the parent's processors: version 1 refuses processes in a cpuset that has none."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        own = place / name
        if own.exists() and not own.read_text().strip() and (place.parent / "tasks").exists():
            own.write_text((place.parent / name).read_text())


def find(path: str) -> list[Path]:
    """Return every cgroup directory hafen-lab/<path>, in any hierarchy, wherever it hangs."""
    mounts = {
        each.mount
        for each in hierarchies(
            Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text()
        )
    }
    found = []
    for mount in sorted(mounts):
        for directory, names, _ in os.walk(mount):
            if CGROUP in names:
                names.remove(CGROUP)
                candidate = Path(directory, CGROUP, path)
                found += [candidate] if candidate.is_dir() else []
    return found


def processes(places: Sequence[Path]) -> set[int]:
    """Return the living processes in the cgroups and below. Zombies are dead."""
    pids = {pid for place in places for each in _tree(place) for pid in _pids(each)}
    return {pid for pid in pids if is_alive(pid)}


def thaw(places: Sequence[Path]) -> None:
    """Let frozen processes go on: one that is frozen cannot even be killed."""
    for place in places:
        for each in _tree(place):
            for name, text in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
                _write_if_there(each / name, text)


async def remove(places: Sequence[Path]) -> None:
    """Remove the cgroups and all below; they must hold no process.

    Raises:
        HostError: the kernel still counts something in one of them.
    """
    if not await until(lambda: not _remove_trees(places), _REMOVE_S):
        left = [str(place) for place in places if place.exists()]
        raise HostError(f"cgroups cannot be removed: {', '.join(left)}")


def remove_parents(places: Sequence[Path]) -> None:
    """Remove the directories above the labs' where they are empty."""
    for place in places:
        _rmdir(place)


def is_alive(pid: int) -> bool:
    """Say whether a process exists and is no zombie."""
    return started_ticks(pid) is not None


def started_ticks(pid: int) -> int | None:
    """Return when a process started (clock ticks since boot), None if it is dead or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def _tree(place: Path) -> Iterator[Path]:
    """Yield the cgroup and all below, children first; one that vanishes meanwhile is left out."""
    for directory, _, _ in os.walk(place, topdown=False):
        yield Path(directory)


def _pids(place: Path) -> list[int]:
    try:
        return [int(pid) for pid in (place / "cgroup.procs").read_text().split()]
    except (FileNotFoundError, OSError):
        return []  # removed since it was listed


def _write_if_there(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY)
    except FileNotFoundError:
        return  # another version's file, the hierarchy's root, or a cgroup that is gone
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _remove_trees(places: Sequence[Path]) -> list[Path]:
    """Remove what can be removed; return what is left."""
    return [each for place in places for each in _tree(place) if not _rmdir(each)]


def _rmdir(place: Path) -> bool:
    try:
        place.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False  # busy: a process is still on its way out; the caller looks again
    return True
