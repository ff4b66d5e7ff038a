"""The named volumes of this node: which are here, and the removal of those that leave."""

from collections.abc import Callable, Sequence
from typing import Final

import structlog

from node_agent.runtime import Runtime
from shared.errors import RuntimeFailureError
from shared.loop import Dirty

_log = structlog.get_logger()

# A container that still uses it is on its way out; a disk that refuses is not mended sooner.
_RETRY_S: Final = 2.0
_PERIOD_S: Final = 600.0


class Volumes:
    """Keeps the report true about volumes.

    Args:
        runtime: what has volumes.
        changed: called when `present` or `problems` has changed.
    """

    def __init__(self, runtime: Runtime, changed: Callable[[], None]) -> None:
        self._runtime, self._changed = runtime, changed
        self.dirty = Dirty()
        self._leaving: tuple[str, ...] = ()
        self.present: tuple[str, ...] = runtime.volumes()
        self.problems: tuple[str, ...] = ()

    def look(self, leaving: Sequence[str]) -> None:
        """Learn that containers have come or gone, and which volumes are to leave."""
        if tuple(leaving) != self._leaving or self._runtime.volumes() != self.present:
            self._leaving = tuple(leaving)
            self.dirty.mark()

    async def one_pass(self) -> float:
        """Remove what leaves; return when to look again, seconds."""
        problems: list[str] = []
        for name in self._leaving:
            try:
                await self._runtime.remove_volume(name)
            except RuntimeFailureError as error:
                _log.warning("volume_stays", volume=name, reason=str(error))
                problems.append(f"cannot remove a volume: {error}")
        after = (self._runtime.volumes(), tuple(problems))
        if after != (self.present, self.problems):
            self.present, self.problems = after
            self._changed()
        return _RETRY_S if problems else _PERIOD_S
