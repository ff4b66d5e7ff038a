"""The paths of networks: those that no stack makes are written here."""

from collections.abc import Sequence

import structlog
from aiohttp import web

from scheduler.api.cluster import Cluster
from scheduler.api.networks import check_new, check_old, networks
from scheduler.world import World
from shared import api, codec, keys
from shared.http import body_of, reply
from shared.model import Network, Revision
from shared.store import Compare, Condition, Delete, Op, Put, Unchanged

_log = structlog.get_logger()


class NetworkHandlers:
    """Lists, makes and removes networks."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Return what the application serves."""
        return [
            web.get(api.NETWORKS, self.networks),
            web.post(api.NETWORKS, self.create),
            web.delete(api.NETWORK, self.remove),
        ]

    async def networks(self, _request: web.Request) -> web.Response:
        """Answer with all networks, and how many addresses are left."""
        self._cluster.need_view()
        return reply(networks(self._cluster.world(), self._cluster.pools))

    async def create(self, request: web.Request) -> web.Response:
        """Make a network; one that is there already, as it is asked for, is not written again."""
        network = await body_of(request, Network)
        world = await self._cluster.current()
        check_new(world, self._cluster.ground(), network)
        if network.name not in world.networks:
            put = Put(keys.network(network.name), codec.encode(network))
            await self._write(world, network.name, put)
            _log.info("network_created", network=network.name)
        return reply(self._shown(network))

    async def remove(self, request: web.Request) -> web.Response:
        """Remove a network that nobody uses."""
        name = request.match_info["network"]
        world = await self._cluster.current()
        check_old(world, name)
        network = world.networks[name].network
        await self._write(world, name, Delete(keys.network(name)))
        _log.info("network_removed", network=name)
        return reply(api.NetworkView(name=name, internal=network.internal, subnet=network.subnet))

    def _shown(self, network: Network) -> api.NetworkView:
        listed = networks(self._cluster.world(), self._cluster.pools).networks
        plain = api.NetworkView(name=network.name, internal=network.internal, subnet=network.subnet)
        return next((one for one in listed if one.name == network.name), plain)

    async def _write(self, world: World, name: str, op: Op) -> None:
        """Write unless a stack or a network was written since `world`."""
        key, state = keys.network(name), world.networks.get(name)
        conditions: list[Condition] = [
            Unchanged(keys.STACKS, world.revision),
            Unchanged(keys.NETWORKS, world.revision),
            Compare(key, state.revision if state is not None else Revision(0)),
        ]
        await self._cluster.commit(f"network {name}", conditions, [op])
