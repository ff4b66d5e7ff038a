"""Images from a person's computer to all nodes: written here once, passed on a few at a time.

A node that fails does not stop the others, and one that is away now simply lacks the image.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final, TypeVar

import structlog
from aiohttp import web

from scheduler.api.cluster import Cluster
from shared import api, http
from shared.api import AGENT_IMAGES, ImageHeld, ImageHolders, ImagePush
from shared.clock import Clock
from shared.errors import HafenError, SpecError, UnavailableError
from shared.model import NodeName
from shared.remote import Remote, Target
from shared.settings import AGENT_PORT, Settings
from shared.upload import Inbox

T = TypeVar("T")

_log = structlog.get_logger()

# They share this host's line: more at once would only make each of them slower.
_AT_ONCE_MAX: Final = 4
# So many nodes are asked at once what they have; each answers from its disk at once.
_ASKED_AT_ONCE_MAX: Final = 64
# A line that is slower than 1 MB/s is no line between hosts of a cluster.
_BYTES_A_SECOND_MIN: Final = 1_000_000
# Longer than a node may fetch and unpack, both of which it bounds itself.
_LOAD_S_MAX: Final = 1800.0


class ImageHandlers:
    """The paths about images. `agents` None: without TLS no agent can be given any."""

    def __init__(
        self, cluster: Cluster, agents: ssl.SSLContext | None, settings: Settings, clock: Clock
    ) -> None:
        self._cluster, self._agents, self._clock = cluster, agents, clock
        self._inbox = Inbox(settings.node, settings.data_dir / "uploads" / "scheduler")

    def sweep(self) -> None:
        """Remove archives that a crash has left; before anything is served."""
        self._inbox.sweep()

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Return what the application serves."""
        return [web.put(api.IMAGES, self.push), web.get(api.IMAGES, self.holders)]

    async def push(self, request: web.Request) -> web.StreamResponse:
        """Bring the archive in the body to all sound nodes; stream how each of them took it."""
        name = http.named(request, "name")
        targets = self._targets()
        async with self._inbox.received(request) as (archive, size):
            deadline_s = _LOAD_S_MAX + size / _BYTES_A_SECOND_MIN

            async def pass_on(put: http.Put) -> None:
                async def bring(node: NodeName, target: Target) -> ImagePush:
                    ended = await self._brought(node, _sent(target, archive, name), deadline_s)
                    await put(ended)
                    return ended

                await put(_sum(await _each(targets, bring, _AT_ONCE_MAX)))

            return await http.stream(request, pass_on)

    async def holders(self, request: web.Request) -> web.Response:
        """Answer which sound nodes have an image."""
        name = http.named(request, "name")
        if not name:
            raise SpecError("name: say which image")

        async def ask(_node: NodeName, target: Target) -> str:
            try:
                async with Remote(target) as remote:
                    await remote.ask("GET", AGENT_IMAGES, ImageHeld, query={"name": name})
            except HafenError as error:
                return str(error)
            return ""

        targets = self._targets()
        said = dict(zip(targets, await _each(targets, ask, _ASKED_AT_ONCE_MAX), strict=True))
        return http.reply(
            ImageHolders(
                holders=tuple(node for node, why in said.items() if not why),
                lacking={node: why for node, why in said.items() if why},
            )
        )

    def _targets(self) -> Mapping[NodeName, Target]:
        """Return the agents of all sound nodes, by name in order."""
        self._cluster.need_view()
        if self._agents is None:
            raise UnavailableError("no agent can be given an image: the settings have no [tls]")
        world, verdicts = self._cluster.world(), self._cluster.verdicts()
        sound = sorted(name for name in world.nodes if verdicts[name].is_sound)
        if not sound:
            raise UnavailableError("no node is well: there is nobody to take an image")
        return {
            name: Target.https(world.nodes[name].spec.address, AGENT_PORT, self._agents, name=name)
            for name in sound
        }

    async def _brought(
        self, node: NodeName, sending: Awaitable[str], deadline_s: float
    ) -> ImagePush:
        """Wait for the image's name on a node; what goes wrong is this node's problem only."""
        begun, image, problem = self._clock.monotonic_s(), "", ""
        try:
            async with asyncio.timeout(deadline_s):
                image = await sending
        except HafenError as error:
            problem = str(error).removeprefix(f"{node}: ")
        except TimeoutError:
            problem = f"{node} did not take it within {deadline_s:.0f} s"
        seconds = self._clock.monotonic_s() - begun
        _log.info("image_pushed", to=node, image=image, seconds=round(seconds, 1), problem=problem)
        return ImagePush(node=node, image=image, seconds=seconds, problem=problem)


async def _sent(target: Target, archive: Path, name: str) -> str:
    """Send the archive to one agent and return what its image is called there."""
    query = {"name": name} if name else {}
    async with (
        Remote(target) as remote,
        aclosing(remote.send(AGENT_IMAGES, archive, ImageHeld, query=query)) as answers,
    ):
        async for held in answers:
            return held.image
    raise UnavailableError(f"{target.where} took it and did not say that it has it; send it again")


async def _each(
    targets: Mapping[NodeName, Target],
    use: Callable[[NodeName, Target], Awaitable[T]],
    at_once_max: int,
) -> list[T]:
    """Return what `use` returns for each target, in their order."""
    free = asyncio.Semaphore(at_once_max)

    async def one(node: NodeName, target: Target) -> T:
        async with free:
            return await use(node, target)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(node, target)) for node, target in targets.items()]
    return [task.result() for task in tasks]


def _sum(ended: Sequence[ImagePush]) -> ImagePush:
    return ImagePush(
        image=next((one.image for one in ended if one.image), ""),
        seconds=max(one.seconds for one in ended),
        problem="; ".join(f"{one.node}: {one.problem}" for one in ended if one.problem),
        have=sum(not one.problem for one in ended),
        asked=len(ended),
    )
