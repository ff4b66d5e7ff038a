"""Fetches images that this node runs nothing of, for the day when another node is lost."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from node_agent.runtime import Runtime
from shared.errors import ImageError
from shared.loop import Dirty

_log = structlog.get_logger()

# An image that cannot be had is no hurry: nothing waits for it.
_RETRY_S: Final = 60.0
# Notices an image that was removed by hand.
_PERIOD_S: Final = 600.0


class Prefetch:
    """Keeps the images that are wanted on this node, one pull at a time.

    Args:
        runtime: what has images.
        changed: called when `present` or `missing` has changed.
    """

    def __init__(self, runtime: Runtime, changed: Callable[[], None]) -> None:
        self._runtime, self._changed = runtime, changed
        self.dirty = Dirty()
        self._wanted: tuple[str, ...] = ()
        self.present: tuple[str, ...] = ()
        self.missing: Mapping[str, str] = {}

    def want(self, images: Sequence[str]) -> None:
        """Learn which images should be here."""
        if tuple(images) != self._wanted:
            self._wanted = tuple(images)
            self.dirty.mark()

    @property
    def problems(self) -> tuple[str, ...]:
        """Return what keeps images from being had, one sentence each."""
        return tuple(f"cannot fetch ahead of need: {why}" for why in self.missing.values())

    async def one_pass(self) -> float:
        """Fetch what is missing; return when to look again, seconds."""
        missing: dict[str, str] = {}
        present: list[str] = []
        for image in self._wanted:
            try:
                if not await self._runtime.has_image(image):
                    await self._runtime.pull(image)
                    _log.info("image_prefetched", image=image)
                present.append(image)
            except ImageError as error:
                missing[image] = str(error)
            self._become(tuple(present), missing)
        self._become(tuple(present), missing)
        return _RETRY_S if missing else _PERIOD_S

    def _become(self, present: tuple[str, ...], missing: Mapping[str, str]) -> None:
        if (present, missing) != (self.present, self.missing):
            self.present, self.missing = present, dict(missing)
            self._changed()
