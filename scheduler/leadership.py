"""Leading.

One pass after the other of decide and commit, for as long as the lease and the fence hold.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import NoReturn

import msgspec
import structlog

from scheduler.basis import basis_of
from scheduler.commit import Storyteller, commit
from scheduler.decide import PERIOD_S, WAKE_S_LEAST, Decision, decide
from scheduler.memory import Memory
from scheduler.nodes import Grounds, History, grounds_of, judge
from scheduler.reading import WorldReader
from scheduler.story import Now
from scheduler.world import World
from shared import keys
from shared.backoff import Rng, backoff_s
from shared.cancelling import heed_cancellation
from shared.clock import Clock
from shared.election import Fence, campaign
from shared.errors import FencedError, LeaseLostError, StoreError
from shared.loop import Dirty, reconcile_forever
from shared.model import Leader, NodeName, Revision
from shared.settings import Settings
from shared.store import Lease, Store
from shared.view import View

_log = structlog.get_logger()

# How often a pass that waits for its own write to come back looks again; the watch wakes it sooner.
_CATCH_UP_S = 1.0


class Leadership:
    """Campaigns for ever, and decides while it leads.

    Args:
        store: where to campaign and write.
        view: everything under keys.ROOT, kept by the caller, who marks `dirty` when it changes.
        dirty: wakes the next pass.
        settings: who we are, and how fast a silent node is given up.
        clock: time.
        rng: jitter.

    Attributes:
        beside: what else to do while leading, until cancelled; None: nothing.
    """

    def __init__(
        self,
        store: Store,
        view: View,
        dirty: Dirty,
        settings: Settings,
        *,
        clock: Clock,
        rng: Rng,
    ) -> None:
        self.beside: Callable[[Fence], Awaitable[None]] | None = None
        self._store, self._view, self._dirty = store, view, dirty
        self._node, self._timing = NodeName(settings.node), settings.timing
        self._vips = settings.vips
        self._clock, self._rng = clock, rng
        self._story = Storyteller(store, clock, rng)
        self._reader, self._history = WorldReader(), History()

    async def run(self) -> NoReturn:
        """Campaign, lead until deposed, campaign again."""
        attempt = 0
        while True:
            try:
                me = Leader(node=self._node, since_s=self._clock.now_s())
                async with campaign(
                    self._store,
                    me,
                    ttl_s=self._timing.leader_ttl_s,
                    until_gone=self._until_given_up,
                ) as (fence, lease):
                    attempt = 0
                    await self._lead(fence, lease)
            except StoreError as error:
                attempt += 1
                _log.warning("campaign_failed", reason=str(error), attempt=attempt)
                await self._clock.sleep(backoff_s(attempt, self._rng))

    async def _until_given_up(self, leader: Leader) -> None:
        """Return once the leader's node is given up by the rules that it would itself apply.

        What is seen meanwhile is remembered: should we lead next, those clocks run already.
        """
        grounds: Grounds = ()
        looked_at: tuple[int, int] | None = None
        world, due_s = World(), 0.0
        while True:
            # Most of what changes is what nodes run: no verdict goes by that.
            at = self._view.stamp(keys.NODES), self._view.stamp(keys.SUSPECTS)
            if at != looked_at:
                looked_at, world = at, self.read()
                before, grounds = grounds, grounds_of(world)
                if grounds != before:
                    due_s = 0.0
            now_s = self._clock.monotonic_s()
            if now_s >= due_s:
                judged = judge(world, self._history, now_s, self._timing)
                self._history = judged.history
                verdict = judged.verdicts.get(leader.node)
                if verdict is not None and verdict.is_given_up:
                    reason = judged.reasons.get(leader.node, "")
                    _log.warning("leader_gone", node=leader.node, verdict=verdict, reason=reason)
                    return
                wait_s = judged.changes_in_s
                due_s = now_s + (PERIOD_S if wait_s is None else wait_s)
            await self._dirty.wait(due_s - now_s)

    async def _lead(self, fence: Fence, lease: Lease) -> None:
        """Decide until we no longer may."""
        _log.info("leading", fence=fence.token)
        term = _Term(self, fence, lease, Memory(nodes=self._history))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._wake_when_lost(lease))
                if self.beside is not None:
                    group.create_task(_until_cancelled(self.beside, fence))
                await reconcile_forever(term.one_pass, self._dirty, self._clock, self._rng)
        except* (FencedError, LeaseLostError) as errors:
            reasons = [str(error) for error in errors.exceptions]
            _log.warning("deposed", fence=fence.token, reasons=reasons)
        heed_cancellation()

    async def _wake_when_lost(self, lease: Lease) -> None:
        await lease.lost.wait()
        self._dirty.mark()

    def read(self) -> World:
        """Return the world as the view has it now."""
        return self._reader.read(self._view)

    def now_s(self) -> float:
        """Return our monotonic clock."""
        return self._clock.monotonic_s()

    def decide(self, world: World, memory: Memory) -> Decision:
        """Return the leader's decision now."""
        now = Now(self._clock.monotonic_s(), self._clock.now_s())
        return decide(world, memory, now, self._timing, vips=self._vips)

    async def write(self, fence: Fence, decision: Decision) -> Revision:
        """Commit the plan, then tell of it; return the last revision written, 0 if none."""
        revision = await commit(self._store, fence, decision.plan.writes)
        await self._story.tell(decision.plan.events)
        return revision


async def _until_cancelled(what: Callable[[Fence], Awaitable[None]], fence: Fence) -> None:
    await what(fence)


class _Term:
    """One term of office: what is remembered between its passes."""

    def __init__(self, leadership: Leadership, fence: Fence, lease: Lease, memory: Memory) -> None:
        self._leadership, self._fence, self._lease = leadership, fence, lease
        self._memory = memory
        self._committed = Revision(0)
        self._complained: frozenset[str] = frozenset()
        self._basis, self._settled_until_s = World(), 0.0

    async def one_pass(self) -> float:
        """Decide once and write it; return in how many seconds time alone may change the decision.

        Raises:
            LeaseLostError: our own clock says that we may no longer lead.
            FencedError: etcd says so.
        """
        if self._lease.lost.is_set():
            raise LeaseLostError("the leader's lease ended")
        world = self._leadership.read()
        # Before our own last write has come back, the view is of a world that we have changed.
        if world.revision < max(self._committed, self._fence.token):
            return _CATCH_UP_S
        self._complain(world)
        before_s, before, basis = self._leadership.now_s(), self._memory, basis_of(world)
        if before_s + WAKE_S_LEAST < self._settled_until_s and basis == self._basis:
            return self._settled_until_s - before_s
        self._settled_until_s = 0.0
        decision = self._leadership.decide(world, self._memory)
        # Clocks that have begun to run go on even if the write fails; what was told is told with
        # it.
        told, self._memory = self._memory.told, decision.memory
        try:
            self._committed = max(
                await self._leadership.write(self._fence, decision), self._committed
            )
        except StoreError:
            self._memory = msgspec.structs.replace(self._memory, told=told)
            raise
        if not decision.plan.writes and not decision.plan.events and decision.memory == before:
            # Whoever asks the same is told the same, until time alone changes it.
            self._basis, self._settled_until_s = basis, before_s + decision.plan.wake_in_s
        return decision.plan.wake_in_s

    def _complain(self, world: World) -> None:
        new = frozenset(world.unreadable) - self._complained
        for key in sorted(new):
            _log.error("unreadable_record", key=key, reason=world.unreadable[key])
        self._complained = frozenset(world.unreadable)
