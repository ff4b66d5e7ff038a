"""The paths that say what is and what happens: read the request, ask the pure parts, answer.

Which paths there are and what they speak is written in shared/api.py.
"""

import ssl
from collections.abc import Sequence
from typing import Final

import structlog
from aiohttp import web

from scheduler.api import views
from scheduler.api.agents import agent_of
from scheduler.api.cluster import Cluster
from scheduler.api.logs import LogMerger, LogRequest, Source
from scheduler.api.placed import Placed
from scheduler.api.progress import Patience, observe, progress
from scheduler.api.selection import Selection, resolve
from scheduler.api.stack_handlers import stack_of
from scheduler.api.stacks import no_stack
from scheduler.api.unread import check_read
from scheduler.api.why import Scene, why_allocation, why_service
from scheduler.reading import read_event
from shared import api, keys
from shared.clock import Clock
from shared.errors import NotFoundError, SpecError
from shared.http import Put, flag, reply, stream, whole
from shared.limits import TAIL_MAX
from shared.model import Event, ServiceName, StackName
from shared.view import View

_log = structlog.get_logger()

# People cannot read faster, and a rollout of a thousand replicas changes far more often.
_PROGRESS_PAUSE_S: Final = 0.1
# What blocks a stack is a matter of time, not only of changes.
_PROGRESS_PERIOD_S: Final = 1.0
_EVENTS_PERIOD_S: Final = 10.0
_REVISION_MAX: Final = 2**63 - 1


class Handlers:
    """The API's paths. `agents` None: without TLS no agent can be asked for its logs."""

    def __init__(
        self,
        cluster: Cluster,
        view: View,
        agents: ssl.SSLContext | None,
        clock: Clock,
    ) -> None:
        self._cluster, self._view = cluster, view
        self._agents, self._clock = agents, clock

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Return what the application serves."""
        return [
            web.get(api.NODES, self.nodes),
            web.get(api.SERVICES, self.services),
            web.get(api.ALLOCATIONS, self.allocations),
            web.get(api.PROGRESS, self.progress),
            web.get(api.WHY, self.why),
            web.get(api.LOGS, self.logs),
            web.get(api.EVENTS, self.events),
        ]

    async def nodes(self, _request: web.Request) -> web.Response:
        """Answer with all nodes."""
        self._cluster.need_view()
        return reply(api.NodeList(nodes=views.nodes(self._cluster.world(), self._cluster.judged())))

    async def services(self, request: web.Request) -> web.Response:
        """Answer with the services of all stacks or of one."""
        found = self._found(request.query.get("stack"))
        waiting = self._cluster.waiting(found)
        stack = request.query.get("stack")
        name = StackName(stack) if stack is not None else None
        return reply(views.services(self._cluster.world(), found, waiting, name))

    async def allocations(self, request: web.Request) -> web.Response:
        """Answer with the allocations that match the query."""
        found = self._found(request.query.get("stack"))
        return reply(
            views.allocations(
                found,
                stack=request.query.get("stack"),
                service=request.query.get("service"),
                node=request.query.get("node"),
            )
        )

    async def progress(self, request: web.Request) -> web.StreamResponse:
        """Stream how far a change is, until it is done."""
        name = stack_of(request)
        after = whole(request, "after", largest=_REVISION_MAX) or 0
        if after == 0:
            self._found(name)  # with no change to wait for, a name that nobody knows is a mistake
            check_read(self._cluster.world(), name)

        async def report(put: Put) -> None:
            patience, sent = Patience(), None
            while True:
                count = self._cluster.changes.count
                if self._cluster.revision >= after:
                    now, stand = self._clock.monotonic_s(), self._cluster.stand(name)
                    patience = observe(patience, stand, now)
                    current = progress(patience, stand, now)
                    if current != sent:
                        await put(current)
                        sent = current
                    if current.done:
                        return
                    await self._clock.sleep(_PROGRESS_PAUSE_S)
                await self._cluster.changes.wait(count, _PROGRESS_PERIOD_S)

        return await stream(request, report)

    async def why(self, request: web.Request) -> web.Response:
        """Answer with why an allocation or a service is as it is."""
        self._cluster.need_view()
        found = self._cluster.placed()
        selection = self._selection(request)
        meant = [one for one in found if selection.matches(one)]
        stack = selection.stack or meant[0].view.stack
        story = self._story()
        stand = self._cluster.stand(StackName(stack), found=found)
        scene = Scene(stand, self._cluster.judged(), [story[key] for key in sorted(story)])
        if selection.allocation is not None:
            return reply(why_allocation(scene, meant[0]))
        check_read(self._cluster.world(), stack)
        if selection.service is None:
            names = ", ".join(f"{stack}.{name}" for name in sorted(stand.specs))
            raise SpecError(f"{stack} is a stack: say which service of it: {names}")
        return reply(why_service(scene, ServiceName(selection.service)))

    def _selection(self, request: web.Request) -> Selection:
        """Return what a request names, by the same rules wherever something is named."""
        query = request.query
        return resolve(
            Selection(
                stack=query.get("stack"),
                service=query.get("service"),
                allocation=query.get("allocation"),
            ),
            self._cluster.world(),
            self._cluster.placed(),
        )

    async def logs(self, request: web.Request) -> web.StreamResponse:
        """Stream the logs of a service or an allocation from wherever it runs."""
        self._cluster.need_view()
        follow, tail = flag(request, "follow"), whole(request, "tail", largest=TAIL_MAX)
        selection = self._selection(request)
        wanted = LogRequest(sources=lambda: self._sources(selection), follow=follow, tail=tail)

        async def merge(put: Put) -> None:
            await LogMerger(wanted, self._cluster.changes, self._clock, put).run()

        return await stream(request, merge)

    async def events(self, request: web.Request) -> web.StreamResponse:
        """Stream the cluster's story, oldest first."""
        self._cluster.need_view()
        follow = flag(request, "follow")

        async def tell(put: Put) -> None:
            told: frozenset[str] = frozenset()
            while True:
                count = self._cluster.changes.count
                story = self._story()
                for key in sorted(story.keys() - told):
                    await put(story[key])
                if not follow:
                    return
                told = frozenset(story)
                await self._cluster.changes.wait(count, _EVENTS_PERIOD_S)

        return await stream(request, tell)

    def _story(self) -> dict[str, Event]:
        return {
            key: event
            for key, item in self._view.range(keys.EVENTS).items()
            if (event := read_event(item)) is not None
        }

    def _sources(self, selection: Selection) -> tuple[Source, ...]:
        return tuple(self._source(one) for one in self._cluster.placed() if selection.matches(one))

    def _source(self, one: Placed) -> Source:
        id_, node = one.view.id, one.view.node
        address = self._cluster.world().nodes[node].spec.address
        return Source(id_, node, *agent_of(node, address, one.verdict, self._agents))

    def _found(self, stack: str | None) -> tuple[Placed, ...]:
        """Return all allocations; a stack that neither exists nor runs is refused."""
        self._cluster.need_view()
        found, world = self._cluster.placed(), self._cluster.world()
        if stack is None or stack in world.stacks or any(one.view.stack == stack for one in found):
            return found
        check_read(world, stack)
        raise NotFoundError(no_stack(stack, world.stacks))
