"""The paths that change stacks, say what a change would do, and what those before it did."""

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog
from aiohttp import web

from scheduler.api import checks
from scheduler.api.archive import history_prefix, past
from scheduler.api.cluster import Cluster
from scheduler.api.history import history
from scheduler.api.plan import hold, planned, revision_of
from scheduler.api.stacks import Stacks, no_stack
from scheduler.api.unread import check_read
from scheduler.forecast import Start
from scheduler.story import Now
from shared import api, keys
from shared.clock import Clock
from shared.errors import NotFoundError
from shared.http import body_of, reply
from shared.model import Stack, StackName
from shared.view import View

_log = structlog.get_logger()

# A person waits for a plan; a large cluster's is cut short.
_PLAN_S_MAX: Final = 3.0
_DIGITS_MAX: Final = 10


class StackHandlers:
    """Deploys, changes, removals and histories."""

    def __init__(self, cluster: Cluster, view: View, stacks: Stacks, clock: Clock) -> None:
        self._cluster, self._view = cluster, view
        self._stacks, self._clock = stacks, clock

    def routes(self) -> Sequence[web.AbstractRouteDef]:
        """Return what the application serves."""
        return [
            web.put(api.STACK, self.deploy),
            web.delete(api.STACK, self.remove),
            web.post(api.CHANGES, self.change),
            web.post(api.PLAN, self.plan),
            web.get(api.HISTORY, self.history),
            web.get(api.GENERATION, self.generation),
        ]

    async def deploy(self, request: web.Request) -> web.Response:
        """Store a stack."""
        name = stack_of(request)
        upload = await body_of(request, api.StackUpload)
        await self._cluster.need_etcd()
        based_on = None
        if upload.plan_id or upload.needs_place:
            plan = await self._plan(name, upload)
            hold(plan, upload)
            based_on = revision_of(plan.plan_id) if upload.plan_id else None
        stored = await self._stacks.deploy(name, upload, based_on=based_on)
        accepted = await self._seen(stored)
        _log.info("stack_deployed", stack=name, generation=accepted.generation)
        return reply(accepted)

    async def plan(self, request: web.Request) -> web.Response:
        """Answer with what a deploy would do now."""
        name = stack_of(request)
        return reply(await self._plan(name, await body_of(request, api.StackUpload)))

    async def _plan(self, name: StackName, upload: api.StackUpload) -> api.PlanView:
        self._cluster.need_view()
        now = Now(self._clock.monotonic_s(), self._clock.now_s())
        history, ground = self._cluster.judged().history, self._cluster.ground()
        start = Start(self._cluster.world(), history, now, ground.pools)
        began_s = self._clock.boot_s()

        def is_over() -> bool:
            return self._clock.boot_s() - began_s >= _PLAN_S_MAX

        # The leader of the cluster may live in this process, and must not wait for it.
        timing = self._cluster.timing
        return await asyncio.to_thread(planned, start, ground, name, upload, timing, is_over)

    async def change(self, request: web.Request) -> web.Response:
        """Change a stack that is deployed."""
        name = stack_of(request)
        asked = await body_of(request, api.ChangeRequest)
        await self._cluster.need_etcd()
        accepted = await self._seen(await self._stacks.change(name, asked))
        kind = type(asked.change).__name__.lower()
        _log.info("stack_changed", stack=name, generation=accepted.generation, change=kind)
        return reply(accepted)

    async def remove(self, request: web.Request) -> web.Response:
        """Remove a stack."""
        name = stack_of(request)
        await self._cluster.need_etcd()
        accepted = await self._seen(await self._stacks.remove(name))
        _log.info("stack_removed", stack=name)
        return reply(accepted)

    async def history(self, request: web.Request) -> web.Response:
        """Answer with what was asked of a stack over time."""
        stack, before = self._generations(stack_of(request))
        return reply(history(stack, before, self._cluster.rollouts_of(stack.name)))

    async def generation(self, request: web.Request) -> web.Response:
        """Answer with a stack as one generation had it."""
        stack, before = self._generations(stack_of(request))
        found = {one.generation: one for one in (*before, stack)}
        text = request.match_info["generation"]
        is_number = text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX
        one = found.get(int(text)) if is_number else None
        if one is None:
            there = ", ".join(map(str, sorted(found)))
            raise NotFoundError(
                f"stack {stack.name} has no generation {text[:40]!r}; its history has: {there}"
            )
        return reply(one)

    def _generations(self, name: StackName) -> tuple[Stack, tuple[Stack, ...]]:
        """Return a stack and the generations before it, the oldest first."""
        stacks = self._cluster.world().stacks
        check_read(self._cluster.world(), name)
        if name not in stacks:
            raise NotFoundError(no_stack(name, stacks))
        stack, prefix = stacks[name].stack, history_prefix(name)
        kept = self._view.range(keys.HISTORY)
        found = past(item for key, item in kept.items() if key.startswith(prefix))
        return stack, tuple(one for one in found if one.generation < stack.generation)

    async def _seen(self, accepted: api.Accepted) -> api.Accepted:
        await self._cluster.seen(accepted.revision)
        return accepted


def stack_of(request: web.Request) -> StackName:
    """Return the stack that a path names.

    Raises:
        SpecError: no stack can be called so.
    """
    name = request.match_info["stack"]
    checks.check_name("stack", name)
    return StackName(name)
