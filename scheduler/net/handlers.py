"""The paths about the network: asks agents to try it, and says who may talk to whom.

What to ask and what it means is decided elsewhere (`plan`, `diagnose`, `show`).
"""

import asyncio
import secrets
import ssl
from collections.abc import Sequence
from typing import Final

import structlog
from aiohttp import web

from scheduler.api.cluster import Cluster
from scheduler.net.diagnose import diagnose
from scheduler.net.plan import NetPlan, plan
from scheduler.net.scene import scene_of
from scheduler.net.seen import Seen
from scheduler.net.show import net_view
from shared import api
from shared.api import AGENT_PROBES, NetDiagnosis, ProbeAnswer, ProbeRequest
from shared.errors import HafenError, UnavailableError
from shared.http import reply
from shared.model import NodeName
from shared.remote import Remote, Target
from shared.settings import AGENT_PORT, Settings

_log = structlog.get_logger()

# All at the same moment, so that each hears the others; a connection each.
_ASKED_AT_ONCE_MAX: Final = 256
# An agent's probes end within some three seconds.
_ANSWER_S_MAX: Final = 8.0


class NetHandlers:
    """The paths about the network. `agents` None: without TLS no agent can be asked."""

    def __init__(self, cluster: Cluster, agents: ssl.SSLContext | None, settings: Settings) -> None:
        self._cluster, self._agents = cluster, agents
        self._here = NodeName(settings.node)

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Return what the application serves."""
        return [web.get(api.NET_DOCTOR, self.doctor), web.get(api.NET_SHOW, self.show)]

    async def show(self, _request: web.Request) -> web.Response:
        """Answer with who may talk to whom."""
        self._cluster.need_view()
        return reply(net_view(self._cluster.world()))

    async def doctor(self, _request: web.Request) -> web.Response:
        """Answer with what passes between nodes and containers, tried now, and what is wrong."""
        self._cluster.need_view()
        if self._agents is None:
            raise UnavailableError("no agent can be asked: the settings have no [tls]")
        scene = scene_of(self._cluster.world())
        wanted = plan(scene, secrets.randbelow)
        seen = await self._tried(wanted, self._agents)
        if not seen.answers:
            why = "; ".join(f"{node}: {said}" for node, said in sorted(seen.silent.items())[:3])
            raise UnavailableError(f"no agent answers, so nothing can be tried: {why}")
        # Two hundred nodes' answers take a while to lay side by side, and others are served.
        return reply(await asyncio.to_thread(_diagnosis, seen))

    async def _tried(self, wanted: NetPlan, agents: ssl.SSLContext) -> Seen:
        free, run = asyncio.Semaphore(_ASKED_AT_ONCE_MAX), secrets.randbits(64)
        answers: dict[NodeName, ProbeAnswer] = {}
        silent: dict[NodeName, str] = {}

        async def ask(node: NodeName, address: str) -> None:
            target = Target.https(address, AGENT_PORT, agents, name=str(node))
            try:
                async with free, asyncio.timeout(_ANSWER_S_MAX), Remote(target) as remote:
                    answers[node] = await remote.ask(
                        "POST", AGENT_PROBES, ProbeAnswer, body=_request(wanted, node, run)
                    )
            except HafenError as error:
                silent[node] = str(error).removeprefix(f"{node}: ")
            except TimeoutError:
                silent[node] = f"no answer within {_ANSWER_S_MAX:g} s"

        async with asyncio.TaskGroup() as group:
            for spec in wanted.scene.nodes:
                group.create_task(ask(spec.name, spec.address))
        _log.info("network_tried", probes=len(wanted.asked), silent=sorted(silent))
        return Seen(plan=wanted, answers=answers, silent=silent, here=self._here)


def _request(wanted: NetPlan, node: NodeName, run: int) -> ProbeRequest:
    sample = wanted.scene.samples.get(node)
    return ProbeRequest(
        run=run,
        probes=wanted.of(node),
        listen_in=(sample.id,) if sample is not None else (),
        subnets=tuple(spec.subnet for spec in wanted.scene.nodes if spec.name != node),
    )


def _diagnosis(seen: Seen) -> NetDiagnosis:
    return NetDiagnosis(
        probes=len(seen.results),
        nodes=seen.nodes,
        cells=seen.cells(),
        skipped=seen.plan.skipped,
        findings=diagnose(seen),
    )
