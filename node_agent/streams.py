"""The agent's own API, for schedulers: logs, images, probes of its network.

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
from node_agent.gateway.access import AccessLog, Wanted
from node_agent.images import AgentImages
from node_agent.probes import AgentProbes
from node_agent.runtime import Container, LogLine
from shared import http
from shared.api import AGENT_ACCESS, AGENT_LOGS, LogEntry
from shared.errors import NotFoundError, SpecError, UnavailableError
from shared.limits import TAIL_MAX
from shared.model import AllocId, NodeName
from shared.settings import AGENT_PORT, Settings
from shared.tls import server_context

_log = structlog.get_logger()

# Each one is an open file and a connection; a person follows a handful, a dashboard some dozen.
STREAMS_MAX: Final = 64
# Each holds up to all that a gateway keeps of requests, some 40 MB of objects.
ACCESS_STREAMS_MAX: Final = 4
_SERVICE: Final = re.compile(r"[a-z0-9][a-z0-9_-]*\.[a-z0-9][a-z0-9_-]*")
# As many as a stack has, and more.
_SERVICES_MAX: Final = 1000
_MS_MAX: Final = 2**53
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
        access: what its gateway wrote of requests; None: nothing.
    """

    def __init__(
        self,
        runtime: LogSource,
        images: AgentImages,
        settings: Settings,
        probes: AgentProbes | None = None,
        figures: Figures | None = None,
        access: AccessLog | None = None,
    ) -> None:
        self._runtime, self._images, self._settings = runtime, images, settings
        self._probes, self._figures = probes, figures
        self._access = access
        self._open = self._open_access = 0

    def application(self) -> web.Application:
        """Return the application, for any listener."""
        app = web.Application(middlewares=[http.refusals])
        app.add_routes([web.get(AGENT_LOGS, self._logs), web.get(METRICS, self._metrics)])
        app.add_routes([web.get(AGENT_ACCESS, self._requests)])
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

    async def _requests(self, request: web.Request) -> web.StreamResponse:
        wanted = Wanted(
            services=_services(request.query.get("service", "")),
            since_ms=http.whole(request, "since", largest=_MS_MAX) or 0,
            tail=http.whole(request, "tail", largest=TAIL_MAX),
            follow=http.flag(request, "follow"),
        )
        log, node = self._access, self._settings.node
        if log is None:
            raise NotFoundError(f"{node} has no gateway that writes of requests")
        if self._open_access >= ACCESS_STREAMS_MAX:
            raise UnavailableError(
                f"{node} already sends {ACCESS_STREAMS_MAX} access logs; end one first"
            )

        async def entries(put: http.Put) -> None:
            async with aclosing(log.read(wanted)) as source:
                async for entry in source:
                    await put(entry)

        self._open_access += 1
        try:
            return await http.stream(request, entries)
        finally:
            self._open_access -= 1


def _services(text: str) -> frozenset[str]:
    names = text.split(",")
    if len(names) > _SERVICES_MAX or not all(_SERVICE.fullmatch(name) for name in names):
        raise SpecError(f"service: expected STACK.SERVICE, several with commas, got {text[:80]!r}")
    return frozenset(names)


def _checked(text: str) -> AllocId:
    if len(text) > _ID_CHARACTERS_MAX or not _ID.fullmatch(text):
        raise SpecError(f"{text[:_ID_CHARACTERS_MAX]!r} is no allocation id")
    return AllocId(text)
