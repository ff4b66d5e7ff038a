"""The paths of single nodes: what people say of one is written into its spec."""

from collections.abc import Sequence

import structlog
from aiohttp import web

from scheduler.api.cluster import Cluster
from scheduler.api.nodes import Scene, changed, check_removable, detail, known
from scheduler.explain import Kept, kept
from scheduler.world import NodeState
from shared import api, codec, keys
from shared.http import body_of, reply
from shared.model import Availability, Revision
from shared.store import Compare, Condition, Delete, Op, Put

_log = structlog.get_logger()


class NodeHandlers:
    """Shows a node, changes what a person may change of it, and removes it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Return what the application serves."""
        return [
            web.get(api.NODE, self.node),
            web.put(api.NODE, self.change),
            web.delete(api.NODE, self.remove),
        ]

    async def node(self, request: web.Request) -> web.Response:
        """Answer with one node and what it has."""
        self._cluster.need_view()
        return reply(self._detail(request.match_info["node"]))

    async def change(self, request: web.Request) -> web.Response:
        """Write a node's spec as a person wants it; what is so already is not written again."""
        change = await body_of(request, api.NodeChange)
        world = await self._cluster.current()
        state = known(world, request.match_info["node"])
        name, spec = state.spec.name, changed(state.spec, change)
        if spec != state.spec:
            key = keys.node_spec(name)
            put = Put(key, codec.encode(spec))
            await self._cluster.commit(f"node {name}", [Compare(key, state.spec_revision)], [put])
            _log.info("node_changed", node=name, availability=spec.availability.value)
        return reply(self._detail(name))

    async def remove(self, request: web.Request) -> web.Response:
        """Remove a node that is gone: its spec, and what it should run and did."""
        world = await self._cluster.current()
        state = known(world, request.match_info["node"])
        name, scene = state.spec.name, self._scene()
        before = detail(scene, name)
        check_removable(scene, name, self._cluster.timing.lease_ttl_s)
        conditions, ops = _removal(state)
        await self._cluster.commit(f"node {name}", conditions, ops)
        _log.info("node_removed", node=name)
        return reply(before)

    def _detail(self, name: str) -> api.NodeDetail:
        state = known(self._cluster.world(), name)
        is_draining = state.spec.availability is Availability.DRAINING
        return detail(self._scene(explained=is_draining), state.spec.name)

    def _scene(self, *, explained: bool = False) -> Scene:
        world = self._cluster.world()
        return Scene(
            world=world,
            judged=self._cluster.judged(),
            found=self._cluster.placed(),
            # To explain is to decide for the whole cluster: only where there is something to.
            kept=kept(world, self._cluster.timing) if explained else Kept(),
        )


def _removal(state: NodeState) -> tuple[Sequence[Condition], Sequence[Op]]:
    """Return what removes a node as it was seen, on condition that it has not come back since.

    Of the leader and of the agent it has no more writers than us: the one finds its manifest
    changed and decides again without the node, the other has no session.
    """
    name = state.spec.name
    seen = {
        keys.node_spec(name): state.spec_revision,
        keys.desired(name): state.manifest_revision,
        keys.observed(name): state.report_revision,
    }
    conditions: list[Condition] = [Compare(key, revision) for key, revision in seen.items()]
    conditions.append(Compare(keys.node_alive(name), Revision(0)))
    gone = [key for key, revision in seen.items() if revision]
    # What it said of its gateway would be the next host's word.
    return conditions, [Delete(key) for key in (*gone, keys.gateway(name))]
