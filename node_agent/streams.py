"""The agent's own API, for schedulers: its containers' logs, its images, probes of its network.

Only over mutual TLS: without certificates there is no listener. It decides nothing.
"""

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, NoReturn, Protocol

import structlog
from aiohttp import web

from node_agent.figures import Figures
from node_agent.images import AgentImages
from node_agent.probes import AgentProbes
from node_agent.runtime import Container, LogLine
from shared import http
from shared.api import AGENT_LOGS, LogEntry
from shared.errors import NotFoundError, SpecError, UnavailableError
from shared.model import AllocId, NodeName
from shared.settings import AGENT_PORT, Settings
from shared.tls import server_context

_log = structlog.get_logger()

# Each one is an open file and a connection; a person follows a handful, a dashboard some dozen.
STREAMS_MAX: Final = 64
TAIL_MAX: Final = 100_000
_ID: Final = re.compile(r"[a-z0-9][a-z0-9_-]*\.[a-z0-9][a-z0-9_-]*\.[0-9]+\.[a-z0-9]+")
_ID_CHARACTERS_MAX: Final = 128
METRICS: Final = "/metrics"
_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"


class LogSource(Protocol):
    """The part of a Runtime that is needed here."""

    async def list(self) -> tuple[Container, ...]:
        """Return every container of ours."""
        ...

    def logs(
        self, id_: AllocId, *, follow: bool, tail: int | None
    ) -> AsyncGenerator[LogLine, None]:
        """Yield the last lines, then with `follow` new ones until the container is removed."""
        ...


class AgentStreams:
    """Serves what this node's runtime has to tell.

    Args:
        runtime: whose logs.
        images: what takes images.
        settings: of this host.
        probes: what tries the network; None: nobody can ask for it.
        figures: returns the node's, in Prometheus' format; None: there are none.
    """

    def __init__(
        self,
        runtime: LogSource,
        images: AgentImages,
        settings: Settings,
        probes: AgentProbes | None = None,
        figures: Figures | None = None,
    ) -> None:
        self._runtime, self._images, self._settings = runtime, images, settings
        self._probes, self._figures = probes, figures
        self._open = 0

    def application(self) -> web.Application:
        """Return the application, for any listener."""
        app = web.Application(middlewares=[http.refusals])
        app.add_routes([web.get(AGENT_LOGS, self._logs), web.get(METRICS, self._metrics)])
        app.add_routes(self._images.routes())
        if self._probes is not None:
            app.add_routes(self._probes.routes())
        return app

    async def serve(self) -> NoReturn:
        """Serve at AGENT_PORT until cancelled; without TLS only wait.

        Raises:
            HostError: the port is taken.
            SettingsError: the TLS files are wrong.
        """
        self._images.sweep()
        tls = self._settings.tls
        if tls is None:
            _log.warning("agent_streams_off", reason="the settings have no [tls]")
            while True:
                await asyncio.Event().wait()
        site = http.tls_site(self._settings.address, AGENT_PORT, server_context(tls))
        await http.serve(self.application(), [site])

    async def _metrics(self, _request: web.Request) -> web.Response:
        if self._figures is None:
            raise NotFoundError(f"{self._settings.node} has no figures")
        return web.Response(text=await self._figures(), headers={"Content-Type": _PROMETHEUS})

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        id_ = _checked(request.match_info["id"])
        follow = http.flag(request, "follow")
        tail = http.whole(request, "tail", largest=TAIL_MAX)
        node = NodeName(self._settings.node)
        if self._open >= STREAMS_MAX:
            raise UnavailableError(f"{node} already sends {STREAMS_MAX} logs; end one first")
        if not any(container.id == id_ for container in await self._runtime.list()):
            raise NotFoundError(f"{node} has no container {id_}")

        async def lines(put: http.Put) -> None:
            async with aclosing(self._runtime.logs(id_, follow=follow, tail=tail)) as source:
                async for line in source:
                    await put(
                        LogEntry(
                            allocation=id_,
                            node=node,
                            at=line.at,
                            stream=line.stream,
                            text=line.text,
                        )
                    )

        self._open += 1
        try:
            return await http.stream(request, lines)
        finally:
            self._open -= 1


def _checked(text: str) -> AllocId:
    if len(text) > _ID_CHARACTERS_MAX or not _ID.fullmatch(text):
        raise SpecError(f"{text[:_ID_CHARACTERS_MAX]!r} is no allocation id")
    return AllocId(text)
