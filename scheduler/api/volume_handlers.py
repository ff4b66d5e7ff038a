"""The paths of named volumes. The leader removes: here its wish is written, and nothing else."""

from collections.abc import Sequence

import msgspec
import structlog
from aiohttp import web

from scheduler.api.cluster import Cluster
from scheduler.api.volumes import removal, volumes
from scheduler.world import World
from shared import api, codec, keys
from shared.http import flag, reply
from shared.model import Removal, Revision, StackName
from shared.store import Compare, Condition, Put, Unchanged

_log = structlog.get_logger()


class VolumeHandlers:
    """Lists volumes, and takes the word that one is to go."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Return what the application serves."""
        return [web.get(api.VOLUMES, self.volumes), web.delete(api.VOLUME, self.remove)]

    async def volumes(self, _request: web.Request) -> web.Response:
        """Answer with all volumes."""
        self._cluster.need_view()
        return reply(volumes(self._cluster.world(), self._cluster.judged()))

    async def remove(self, request: web.Request) -> web.Response:
        """Write down that a volume is to go."""
        name, is_forced = request.match_info["volume"], flag(request, "force")
        world = await self._cluster.current()
        wish = removal(world, name, self._cluster.now_s(), is_forced=is_forced)
        state = world.volumes.get(name)
        before = api.VolumeView(
            name=name,
            stack=state.volume.stack if state is not None else StackName(""),
            node=state.volume.node if state is not None else wish.given_up,
            is_leaving=True,
        )
        await self._write(world, wish)
        _log.info("volume_removed", volume=name, is_forced=is_forced)
        if is_forced:
            problem = f"what {before.node} has of it stays on its disk"
            return reply(msgspec.structs.replace(before, problem=problem))
        return reply(before)

    async def _write(self, world: World, wish: Removal) -> None:
        """Write the wish unless anything was deployed, or the volume changed, since `world`."""
        state, known = world.volumes.get(wish.name), world.removals.get(wish.name)
        key = keys.removal(wish.name)
        conditions: list[Condition] = [
            Unchanged(keys.STACKS, world.revision),
            Compare(keys.volume(wish.name), state.revision if state is not None else Revision(0)),
            Compare(key, known.revision if known is not None else Revision(0)),
        ]
        await self._cluster.commit(
            f"volume {wish.name}", conditions, [Put(key, codec.encode(wish))]
        )
