"""Images that come to this node over the agent's own API, from a scheduler instead of a registry.

An image that is here is seen by the next container that needs it, without a word to anybody.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

import structlog
from aiohttp import web

from shared import http
from shared.api import AGENT_IMAGES, ImageHeld
from shared.errors import ImageError, NotFoundError, SpecError
from shared.settings import Settings
from shared.upload import Inbox, Limits

_log = structlog.get_logger()

# The archive, its layers in the store, and the files they are unpacked to are there at once.
_COPIES: Final = 3


class Images(Protocol):
    """The part of an ImageStore that is needed here."""

    def find(self, name: str) -> object | None:
        """Return the image that is here under a name, or None."""
        ...

    async def load(self, path: Path, name: str = "") -> str:
        """Take the image out of an archive, called `name` if that is not empty; return its name."""
        ...


class AgentImages:
    """The paths with which images are brought and looked for.

    Args:
        images: where they go; the runtime's own.
        settings: of this host.
        limits: of one archive.
    """

    def __init__(
        self,
        images: Images,
        settings: Settings,
        limits: Limits = Limits(copies=_COPIES),  # noqa: B008 - frozen
    ) -> None:
        self._images, self._node = images, settings.node
        self._inbox = Inbox(settings.node, settings.data_dir / "uploads" / "agent", limits)

    def sweep(self) -> None:
        """Remove archives that a crash has left; before anything is served."""
        self._inbox.sweep()

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Return what the application serves."""
        return [web.put(AGENT_IMAGES, self.take), web.get(AGENT_IMAGES, self.find)]

    async def take(self, request: web.Request) -> web.StreamResponse:
        """Load the archive in the body, then say what its image is called."""
        name = http.named(request, "name")
        async with self._inbox.received(request) as (archive, _):

            async def load(put: http.Put) -> None:
                try:
                    image = await self._images.load(archive, name)
                except ImageError as error:
                    # Where it lay here says nothing to whoever sent it.
                    raise ImageError(str(error).replace(str(archive), "the archive")) from error
                except OSError as error:
                    raise ImageError(f"the archive cannot be unpacked: {error.strerror}") from error
                _log.info("image_received", image=image)
                await put(ImageHeld(image=image))

            return await http.stream(request, load)

    async def find(self, request: web.Request) -> web.Response:
        """Answer whether an image is here."""
        name = http.named(request, "name")
        if not name:
            raise SpecError("name: say which image")
        if self._images.find(name) is None:
            raise NotFoundError(f"{self._node} does not have image {name}")
        return http.reply(ImageHeld(image=name))
