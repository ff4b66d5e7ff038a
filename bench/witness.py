"""Reads the logs of all containers of a lab from outside, also of those that are removed.

A log is removed with its container; what is open can still be read.
"""

import asyncio
import time
from types import TracebackType
from typing import IO, Self

from bench.overlap import Run, runs
from deploy.lab.lab import Lab
from shared.model import AllocId

# A container that came and went in less was never ready, nor did it write a line.
_LOOK_S = 0.02


class Witness:
    """Holds every log open, inside `with`; call `watch` in a task of its own."""

    def __init__(self, lab: Lab) -> None:
        self._disks = {node: lab.paths.disk(node) / "containers" for node in lab.nodes}
        self._files: dict[tuple[str, str, int], IO[str]] = {}

    def __enter__(self) -> Self:
        self.look()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.forget()

    async def watch(self) -> None:
        """Look for new logs, for ever."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_S)

    def look(self) -> None:
        """Open what is new."""
        for node, folder in self._disks.items():
            try:
                names = [path.name for path in folder.iterdir()]
            except FileNotFoundError:
                continue  # the agent has not come so far
            for name in names:
                try:
                    path = folder / name / "log"
                    key = (node, name, path.stat().st_ino)
                    if key not in self._files:
                        self._files[key] = path.open(errors="replace")
                except FileNotFoundError:
                    continue  # made but not started, or just removed

    def runs(self) -> list[Run]:
        """Return every life of every container so far."""
        found = []
        for (node, name, _), file in self._files.items():
            file.seek(0)
            found += runs(node, name, file)
        return found

    def starts(self) -> list[tuple[AllocId, float]]:
        """Return the wall clock at which every life began, by allocation."""
        offset_s = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)  # noqa: TID251
        return [(AllocId(run.container), run.first_s + offset_s) for run in self.runs()]

    def forget(self) -> None:
        """Close everything; containers that are still there are found again."""
        for file in self._files.values():
            file.close()
        self._files.clear()
