"""The path of access logs: which services and nodes are meant, then their gateways' words."""

import ssl
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from scheduler.api.access import AccessMerger, AccessRequest, Source
from scheduler.api.agents import agent_of
from scheduler.api.cluster import Cluster
from scheduler.api.selection import Selection, resolve
from scheduler.nodes import Verdict
from scheduler.world import World
from shared import api
from shared.clock import Clock
from shared.errors import SpecError
from shared.http import Put, flag, stream, whole
from shared.limits import TAIL_MAX
from shared.model import ServiceSpec

# No gateway keeps as much.
_AGO_S_MAX: Final = 366 * 24 * 3600


class AccessHandlers:
    """Streams access logs. `agents` None: without TLS no agent can be asked for one."""

    def __init__(self, cluster: Cluster, agents: ssl.SSLContext | None, clock: Clock) -> None:
        self._cluster, self._agents, self._clock = cluster, agents, clock

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Return what the application serves."""
        return [web.get(api.ACCESS, self.access)]

    async def access(self, request: web.Request) -> web.StreamResponse:
        """Stream what all gateways carried to a service or a stack."""
        self._cluster.need_view()
        query = request.query
        follow, tail = flag(request, "follow"), whole(request, "tail", largest=TAIL_MAX)
        ago_s = whole(request, "ago", largest=_AGO_S_MAX)
        asked = Selection(stack=query.get("stack"), service=query.get("service"))
        world = self._cluster.world()
        services = services_of(world, resolve(asked, world, self._cluster.placed()))
        since_ms = 0 if ago_s is None else round((self._clock.now_s() - ago_s) * 1000)
        wanted = AccessRequest(
            sources=self._sources,
            query={"service": ",".join(services)} | ({} if tail is None else {"tail": str(tail)}),
            since_ms=max(since_ms, 0),
            follow=follow,
        )

        async def merge(put: Put) -> None:
            await AccessMerger(wanted, self._clock, put).run()

        return await stream(request, merge)

    def _sources(self) -> tuple[Source, ...]:
        verdicts = self._cluster.verdicts()
        nodes = self._cluster.world().nodes
        return tuple(
            Source(name, *agent_of(name, node.spec.address, verdict, self._agents))
            for name, node in nodes.items()
            for verdict in (verdicts.get(name, Verdict.SUSPECT),)
        )


def services_of(world: World, meant: Selection) -> tuple[str, ...]:
    """Return those services that gateways write of, as "stack.service".

    Raises:
        SpecError: they write of none that is meant.
    """
    found = [
        (f"{name}.{spec.name}", spec)
        for name, state in world.stacks.items()
        for spec in state.stack.services
        if meant.stack in {None, name} and meant.service in {None, spec.name}
    ]
    logged = tuple(sorted(name for name, spec in found if _is_logged(spec)))
    if not logged:
        asked = f"{meant.stack}.{meant.service}" if meant.service else f"{meant.stack}"
        raise SpecError(
            f"gateways write nothing of requests to {asked}: give the service"
            " `x-hafen: access_log: true` and deploy it"
        )
    return logged


def _is_logged(spec: ServiceSpec) -> bool:
    return spec.traffic.access_log
