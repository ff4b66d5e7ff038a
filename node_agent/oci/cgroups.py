"""What the kernel's control groups say about a container, for cgroup v1 and v2.

A container's cgroup is the truth about which processes are its own: a process id can be used
again, but nobody else's process is ever in this cgroup.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
_V1_NO_LIMIT: Final = 1 << 60


class Cgroups:
    """The cgroups below one parent, such as /hafen; each container has one with its id."""

    def __init__(self, parent: str, root: Path = ROOT) -> None:
        self.parent = "/" + parent.strip("/")
        self._root = root
        self.is_v2 = (root / "cgroup.controllers").exists()

    def path(self, id_: str) -> str:
        """Return the container's cgroup as config.json wants it."""
        return f"{self.parent}/{id_}"

    def holds(self, id_: str, pid: int) -> bool:
        """Say whether process `pid` exists and is in the container's cgroup or below it."""
        try:
            text = Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            return False
        own = self.path(id_)
        paths = (line.split(":", 2)[2] for line in text.splitlines())
        return any(path == own or path.startswith(own + "/") for path in paths)

    def pids(self, id_: str) -> frozenset[int]:
        """Return the processes in the container's cgroup and below it."""
        return frozenset(
            int(line)
            for directory in self._directories(id_)
            for file in directory.rglob("cgroup.procs")
            for line in _read(file).split()
        )

    def thaw(self, id_: str) -> None:
        """Let a frozen container run; under cgroup v1 nothing frozen can be killed."""
        for directory in self._directories(id_):
            for name, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
                with contextlib.suppress(FileNotFoundError, OSError):
                    if (directory / name).exists():
                        (directory / name).write_text(word)

    def oom_kills(self, id_: str) -> int:
        """Return how many processes ended here because memory ran out; 0 without a cgroup."""
        path = self.path(id_).lstrip("/")
        file = (
            self._root / path / "memory.events"
            if self.is_v2
            else self._root / "memory" / path / "memory.oom_control"
        )
        for line in _read(file).splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
        return 0

    def remove(self, id_: str) -> bool:
        """Remove the container's empty cgroups; False when something in one of them still lives."""
        for directory in self._directories(id_):
            nested = sorted(
                (path for path in directory.rglob("*") if path.is_dir()),
                key=lambda path: len(path.parts),
                reverse=True,
            )
            for path in (*nested, directory):
                with contextlib.suppress(OSError):
                    path.rmdir()
        return not any(self._directories(id_))

    def _directories(self, id_: str) -> Iterator[Path]:
        """Yield the container's directories; controllers that share one hierarchy give one."""
        seen: set[tuple[int, int]] = set()
        below = self.path(id_).lstrip("/")
        hierarchies = (
            [self._root] if self.is_v2 else [p for p in sorted(self._root.iterdir()) if p.is_dir()]
        )
        for hierarchy in hierarchies:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                status = (hierarchy / below).stat()
                if (status.st_dev, status.st_ino) not in seen:
                    seen.add((status.st_dev, status.st_ino))
                    yield hierarchy / below


def has_swap_accounting(root: Path = ROOT) -> bool:
    """Say whether the kernel can limit swap per cgroup."""
    if (root / "cgroup.controllers").exists():
        return Path("/proc/swaps").exists()
    return (root / "memory" / "memory.memsw.limit_in_bytes").exists()


def is_crowded_hybrid(root: Path = ROOT) -> bool:
    """Say whether controllers are spread over v1 and v2, which crun refuses and runc does not."""
    return bool(_read(root / "unified" / "cgroup.controllers").split())


def memory_limit(root: Path = ROOT) -> int | None:
    """Return the bytes that our own cgroup namespace's root may use, or None."""
    text = _read(root / "memory" / "memory.limit_in_bytes") or _read(root / "memory.max")
    return int(text) if text.strip().isdigit() and int(text) < _V1_NO_LIMIT else None


def cpu_limit_millis(root: Path = ROOT) -> int | None:
    """Return the thousandths of a CPU that our own cgroup namespace's root may use, or None."""
    quota = _read(root / "cpu" / "cpu.cfs_quota_us") + _read(root / "cpu" / "cpu.cfs_period_us")
    numbers = (quota or _read(root / "cpu.max")).split()
    if len(numbers) != 2 or not all(word.isdigit() for word in numbers):  # noqa: PLR2004 - a pair
        return None
    return int(numbers[0]) * 1000 // int(numbers[1])


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
