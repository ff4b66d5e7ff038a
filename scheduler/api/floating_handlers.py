"""The paths of floating addresses. Agents take and let go: here wishes are written down."""

from collections.abc import Sequence

import structlog
from aiohttp import web

from scheduler.api.cluster import Cluster
from scheduler.api.floating import added, floating, moved, view_of
from scheduler.world import World
from shared import api, codec, keys
from shared.http import reply
from shared.model import FloatingAddress, FloatingClaim, NodeName, Revision
from shared.store import Compare, Condition, Delete, Op, Put

_log = structlog.get_logger()


class FloatingHandlers:
    """Lists floating addresses, and takes the word that one is to be, to move or to go."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Return what the application serves."""
        return [
            web.get(api.FLOATING, self.addresses),
            web.put(api.FLOATING_ADDRESS, self.add),
            web.delete(api.FLOATING_ADDRESS, self.remove),
            web.post(api.FLOATING_MOVE, self.move),
        ]

    async def addresses(self, _request: web.Request) -> web.Response:
        """Answer with all floating addresses."""
        self._cluster.need_view()
        return reply(floating(self._cluster.world(), self._cluster.verdicts()))

    async def add(self, request: web.Request) -> web.Response:
        """Write down a new address, and that nobody has it; the same again changes nothing."""
        world = await self._cluster.current()
        asked = codec.decode(api.FloatingAsked, await request.read(), "body")
        record = added(world, self._cluster.pools, request.match_info["address"], asked)
        if record.address not in world.floating:
            ops: list[Op] = [self._put(record)]
            conditions: list[Condition] = [Compare(keys.floating(record.address), Revision(0))]
            if record.address not in world.vips:
                vip = keys.vip(record.address)
                ops.append(Put(vip, codec.encode(FloatingClaim())))
                conditions.append(Compare(vip, Revision(0)))
            await self._cluster.commit(record.address, conditions, ops)
            _log.info("floating_added", address=record.address)
        return self._answer(record.address)

    async def remove(self, request: web.Request) -> web.Response:
        """Take an address away; its holder drops it."""
        world = await self._cluster.current()
        address = request.match_info["address"]
        before = view_of(world, self._cluster.verdicts(), address)
        await self._cluster.commit(
            address, [self._unchanged(world, address)], self._gone(world, address)
        )
        _log.info("floating_removed", address=address)
        return reply(before)

    async def move(self, request: web.Request) -> web.Response:
        """Write down where an address should go."""
        world = await self._cluster.current()
        address = request.match_info["address"]
        asked = codec.decode(api.FloatingMove, await request.read(), "body")
        record = moved(world, self._cluster.verdicts(), address, NodeName(asked.node))
        await self._cluster.commit(address, [self._unchanged(world, address)], [self._put(record)])
        _log.info("floating_moved", address=address, to=record.move_to)
        return self._answer(address)

    def _answer(self, address: str) -> web.Response:
        return reply(view_of(self._cluster.world(), self._cluster.verdicts(), address))

    @staticmethod
    def _put(record: FloatingAddress) -> Put:
        return Put(keys.floating(record.address), codec.encode(record))

    @staticmethod
    def _unchanged(world: World, address: str) -> Compare:
        return Compare(keys.floating(address), world.floating[address].revision)

    @staticmethod
    def _gone(world: World, address: str) -> list[Op]:
        """Return what to delete: a claim that nobody has goes at once, others with their holder."""
        vip = world.vips.get(address)
        is_free = vip is not None and not vip.claim.node
        gone: list[Op] = [Delete(keys.floating(address))]
        return [*gone, Delete(keys.vip(address))] if is_free else gone
