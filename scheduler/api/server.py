"""The HTTP API of a scheduler replica: the unix socket for this host, mutual TLS for the others."""

import asyncio
import random
from collections.abc import Sequence
from typing import Final, NoReturn

from aiohttp import web

from scheduler.api.access_handlers import AccessHandlers
from scheduler.api.changes import Changes
from scheduler.api.cluster import Cluster, Explain
from scheduler.api.edge_handlers import EdgeHandlers
from scheduler.api.floating_handlers import FloatingHandlers
from scheduler.api.gather import Gatherer
from scheduler.api.handlers import Handlers
from scheduler.api.health import HealthHandlers
from scheduler.api.images import ImageHandlers
from scheduler.api.listen import listening
from scheduler.api.members import AskMembers, Members
from scheduler.api.network_handlers import NetworkHandlers
from scheduler.api.node_handlers import NodeHandlers
from scheduler.api.sealing import sealer
from scheduler.api.stack_handlers import StackHandlers
from scheduler.api.stacks import Stacks
from scheduler.api.volume_handlers import VolumeHandlers
from scheduler.net.handlers import NetHandlers
from shared import http
from shared.api import BODY_BYTES_MAX
from shared.clock import Clock
from shared.settings import API_PORT, Settings
from shared.store import Store
from shared.tls import client_context, server_context
from shared.view import View

SOCKET_NAME: Final = "api.sock"


class ApiServer:
    """Serves the API from one view of keys.ROOT.

    Args:
        store: for writes; reads never wait for it.
        view: everything under keys.ROOT, kept by the caller.
        changes: marked by the view's `on_change`.
        explain: says why slots of a stack have no node.
        settings: of this host.
        clock: time.
    """

    def __init__(
        self,
        store: Store,
        view: View,
        changes: Changes,
        explain: Explain,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._settings, self._view, self._clock = settings, view, clock
        self._cluster = Cluster(store, view, changes, explain, clock, settings)
        # Jitter between people's deploys needs no secrecy.
        rng, seal = random.Random(), sealer(settings.secrets.key)  # noqa: S311 - see above
        stacks = Stacks(
            store,
            clock,
            rng,
            self._cluster.standing_of,
            seal,
            ground_of=self._cluster.ground,
        )
        agents = client_context(settings.tls) if settings.tls is not None else None
        self._gatherer = Gatherer(store, settings)
        self._handlers = Handlers(self._cluster, view, agents, clock)
        self._access_handlers = AccessHandlers(self._cluster, agents, clock)
        self._image_handlers = ImageHandlers(self._cluster, agents, settings, clock)
        self._stack_handlers = StackHandlers(self._cluster, view, stacks, clock)
        self._volume_handlers = VolumeHandlers(self._cluster)
        self._node_handlers = NodeHandlers(self._cluster)
        self._network_handlers = NetworkHandlers(self._cluster)
        self._net_handlers = NetHandlers(self._cluster, agents, settings)
        self._floating_handlers = FloatingHandlers(self._cluster)
        self._edge_handlers = EdgeHandlers(self._cluster, view, seal)

    async def serve(self, ask_members: AskMembers) -> NoReturn:
        """Serve until cancelled; `ask_members` says how etcd's members are.

        Raises:
            HostError: the socket or the port is taken.
            SettingsError: the TLS files are wrong.
        """
        self._image_handlers.sweep()
        members = Members(ask_members, self._clock)
        health = HealthHandlers(self._cluster, members, self._gatherer, self._settings)
        tls = self._settings.tls
        sites: list[http.Site] = []
        if tls is not None:
            sites.append(http.tls_site(self._settings.address, API_PORT, server_context(tls)))
        app = web.Application(middlewares=[http.refusals], client_max_size=BODY_BYTES_MAX)
        for part in (
            self._handlers,
            self._access_handlers,
            self._stack_handlers,
            self._volume_handlers,
            self._node_handlers,
            self._network_handlers,
            self._floating_handlers,
            self._edge_handlers,
            self._image_handlers,
            self._net_handlers,
            health,
        ):
            app.add_routes(part.routes())
        with listening(self._settings.run_dir / SOCKET_NAME) as socket:
            sites.append(lambda runner: web.SockSite(runner, socket))
            await self._run(app, sites, members)

    async def _run(
        self, app: web.Application, sites: Sequence[http.Site], members: Members
    ) -> NoReturn:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._cluster.watch_nodes())
                group.create_task(members.watch())
                await http.serve(app, sites)
        except ExceptionGroup as errors:
            # A port that is taken is one error, and whoever runs us should see it as such.
            raise (errors.exceptions[0] if len(errors.exceptions) == 1 else errors) from None
