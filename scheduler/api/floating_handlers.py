"""The paths of floating addresses. Agents take and let go: here wishes are written down."""

from collections.abc import Sequence

import structlog
from aiohttp import web

from scheduler.api.cluster import Cluster
from scheduler.api.floating import added, floating, moved, view_of
from scheduler.world import World
from shared import api, codec, keys
from shared.http import body_of, reply
from shared.model import FloatingAddress, FloatingClaim, Revision
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
        asked = await body_of(request, api.FloatingAsked)
        world = await self._cluster.current()
        record = added(world, self._cluster.pools, request.match_info["address"], asked)
        address = record.address
        if address not in world.floating:
            ops: list[Op] = [_put(record)]
            if address not in world.vips:
                ops.append(Put(keys.vip(address), codec.encode(FloatingClaim())))
            await self._cluster.commit(address, _as_seen(world, address), ops)
            _log.info("floating_added", address=address)
        return self._answer(address)

    async def remove(self, request: web.Request) -> web.Response:
        """Take an address away; its holder drops it."""
        world = await self._cluster.current()
        before = view_of(world, self._cluster.verdicts(), request.match_info["address"])
        address = before.address
        ops: list[Op] = [Delete(keys.floating(address))]
        if address in world.vips and not before.holder:
            # One that somebody has goes with him, once he has dropped the address.
            ops.append(Delete(keys.vip(address)))
        await self._cluster.commit(address, _as_seen(world, address), ops)
        _log.info("floating_removed", address=address)
        return reply(before)

    async def move(self, request: web.Request) -> web.Response:
        """Write down where an address should go."""
        asked = await body_of(request, api.FloatingMove)
        world = await self._cluster.current()
        written = request.match_info["address"]
        record = moved(world, self._cluster.verdicts(), written, asked.node)
        address = record.address
        unchanged = Compare(keys.floating(address), world.floating[address].revision)
        await self._cluster.commit(address, [unchanged], [_put(record)])
        _log.info("floating_moved", address=address, to=record.move_to)
        return self._answer(address)

    def _answer(self, address: str) -> web.Response:
        return reply(view_of(self._cluster.world(), self._cluster.verdicts(), address))


def _put(record: FloatingAddress) -> Put:
    return Put(keys.floating(record.address), codec.encode(record))


def _as_seen(world: World, address: str) -> list[Condition]:
    """Return the conditions under which an address and its claim are as the world has them.

    The claim too: an agent that takes it just now will answer the address, and must drop it before
    the claim goes; one that lets it go just now leaves it to whoever removes the address.
    """
    record, claim = world.floating.get(address), world.vips.get(address)
    found = [Compare(keys.floating(address), record.revision if record else Revision(0))]
    if keys.vip(address) not in world.unreadable:
        found.append(Compare(keys.vip(address), claim.revision if claim else Revision(0)))
    return list[Condition](found)
