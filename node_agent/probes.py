"""What an agent tries of the network when a scheduler asks it to, from its node and containers.

It decides nothing: which probes make sense, and what their ends mean, is the scheduler's to say.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from aiohttp import web

from node_agent.network import namespaces
from node_agent.network.kernel_facts import kernel_facts
from node_agent.network.network import Attachment
from node_agent.network.station import Station
from shared import http
from shared.api import (
    AGENT_PROBES,
    PROBES_MAX,
    Probe,
    ProbeAnswer,
    ProbeRequest,
    ProbeResult,
    ProbeState,
)
from shared.errors import SpecError, UnavailableError
from shared.model import AllocId, NodeName
from shared.settings import Settings

_log = structlog.get_logger()

# Others are asked at the same moment and may be a little late: a closed ear would not hear them.
_LISTEN_S: Final = 2.0
# Each is a socket; one doctor is enough, and two persons may ask at once.
_RUNS_MAX: Final = 2
# Of one request: those with a sample container, and some to spare.
_NAMESPACES_MAX: Final = 16

Find = Callable[[AllocId], Awaitable[Attachment | None]]


class AgentProbes:
    """The path that runs probes.

    Args:
        find: says where a container's network namespace is.
        settings: of this host.
        listen_s: for how long it hears at least.
    """

    def __init__(self, find: Find, settings: Settings, listen_s: float = _LISTEN_S) -> None:
        self._find, self._settings, self._listen_s = find, settings, listen_s
        self._runs = 0

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Return what the application serves."""
        return [web.post(AGENT_PROBES, self.take)]

    async def take(self, request: web.Request) -> web.Response:
        """Answer with what became of the probes in the body."""
        asked = await http.body_of(request, ProbeRequest)
        namespaces_ = {one.source for one in asked.probes} | set(asked.listen_in)
        if len(asked.probes) > PROBES_MAX or len(namespaces_) > _NAMESPACES_MAX:
            raise SpecError(
                f"{len(asked.probes)} probes from {len(namespaces_)} places: "
                f"{PROBES_MAX} from {_NAMESPACES_MAX} are the most at once"
            )
        if self._runs >= _RUNS_MAX:
            raise UnavailableError(
                f"{self._settings.node} already runs {_RUNS_MAX} sets of probes; try again soon"
            )
        self._runs += 1
        try:
            return http.reply(await self.run(asked))
        finally:
            self._runs -= 1

    async def run(self, asked: ProbeRequest) -> ProbeAnswer:
        """Return what became of the probes, what was heard meanwhile, and the kernel's facts."""
        with ExitStack() as stack:
            stations = await self._stations(asked, stack)
            async with asyncio.TaskGroup() as group:
                facts = group.create_task(kernel_facts(self._settings.address, asked.subnets))
                tasks = [group.create_task(_tried(stations, one)) for one in asked.probes]
                await asyncio.sleep(self._listen_s)
            heard = sorted(set[int]().union(*(one.heard for one in stations.values())))
        results = tuple(task.result() for task in tasks)
        lost = sum(result.state is not ProbeState.OK for result in results)
        _log.info("network_probed", probes=len(results), not_ok=lost, heard=len(heard))
        return ProbeAnswer(
            node=NodeName(self._settings.node),
            results=results,
            heard=tuple(heard),
            facts=facts.result(),
        )

    async def _stations(self, asked: ProbeRequest, stack: ExitStack) -> dict[AllocId, Station]:
        """Return a station for each namespace that is there; the node's own is called ""."""
        stations = {AllocId(""): stack.enter_context(Station(asked.run, _here))}
        wanted = {one.source for one in asked.probes} | set(asked.listen_in)
        for id_ in sorted(wanted - {""}):
            attachment = await self._find(id_)
            if attachment is None:
                continue
            inside = partial(namespaces.enter, Path(attachment.namespace))
            try:
                stations[id_] = stack.enter_context(Station(asked.run, inside))
            except OSError as error:
                _log.warning("no_probes_from", container=id_, reason=error.strerror)
        return stations


def _here(make: Callable[[], socket.socket]) -> socket.socket:
    return make()


async def _tried(stations: dict[AllocId, Station], one: Probe) -> ProbeResult:
    station = stations.get(one.source)
    if station is None:
        why = f"{one.source} has no network namespace here now"
        return ProbeResult(id=one.id, state=ProbeState.UNABLE, why=why)
    return await station.probe(one)
