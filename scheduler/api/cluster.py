"""The cluster as this replica sees it now: the view, decoded at most once per change.

Every replica judges nodes by its own clock, as the leader does by its own: a verdict here is for
people's eyes only.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn

import msgspec

from scheduler.api.amend import Rollouts
from scheduler.api.changes import Changes
from scheduler.api.network_checks import Ground, ground_of
from scheduler.api.placed import Placed, placed
from scheduler.api.progress import Stand, is_placed, waiting
from scheduler.api.stacks import Standing
from scheduler.api.unread import newest
from scheduler.api.views import Waiting
from scheduler.explain import Unplaced
from scheduler.nodes import History, Judged, Verdicts, judge
from scheduler.reading import WorldReader
from scheduler.world import World
from shared import keys
from shared.clock import Clock
from shared.errors import (
    AmbiguousError,
    ConflictError,
    OvertakenError,
    StoreError,
    UnavailableError,
)
from shared.model import Revision, StackName
from shared.settings import Settings
from shared.store import Condition, Op, Put, Snapshot, Store, exactly
from shared.timing import Timing
from shared.view import View

# An etcd that is well answers in milliseconds, across sites in a tenth of a second. Who asks how
# things are is told within a second.
GLANCE_S_MAX: Final = 0.2
# Who changes something waits while etcd elects, twice if the first time nobody wins, and at least
# for so long: hosts may be busy.
_ELECTIONS: Final = 2
_CHANGE_S: Final = 3.0
# Whoever changes something and then lists should find what was changed.
_SEEN_S_MAX: Final = 1.0
# A node that went silent unnoticed would be judged too late by as much.
_LOOK_AGAIN_S: Final = 10.0
# A busy cluster changes many times a second, and looking costs a walk over all keys.
_LOOK_PAUSE_S: Final = 0.2
# Why slots of a stack have no node; the scheduler's own words.
Explain = Callable[[World, StackName, Timing], Unplaced]


class Cluster:
    """Answers what is so now, from memory; only `reaches_etcd` asks etcd, and not for long."""

    def __init__(
        self,
        store: Store,
        view: View,
        changes: Changes,
        explain: Explain,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self.changes, self.timing, self.pools = changes, settings.timing, settings.pools
        self._edge = settings.gateway.ports
        self._store = store
        self._view, self._explain, self._clock = view, explain, clock
        self._reader = WorldReader()
        self._history = History()
        self._leaderless_since: float | None = None

    @property
    def revision(self) -> Revision:
        """Return how far the view is."""
        return self._view.revision

    def now_s(self) -> float:
        """Return the wall clock's time."""
        return self._clock.now_s()

    async def reaches_etcd(self, within_s: float) -> bool:
        """Say whether etcd, a majority of it, answers now.

        The view does not know: a watch goes on by itself once etcd is back, and is only quiet until
        then.
        """
        try:
            async with asyncio.timeout(within_s):
                await self._store.list(exactly(keys.LEADER))
        except (StoreError, TimeoutError):
            return False
        return True

    def need_view(self) -> None:
        """Return if this replica has seen the cluster at all.

        Raises:
            UnavailableError: it has not yet.
        """
        if self.revision == 0:
            raise UnavailableError("etcd has not answered since this scheduler began: wait for it")

    async def need_etcd(self) -> None:
        """Return if etcd takes changes now.

        Raises:
            UnavailableError: it does not answer.
        """
        within_s = max(_ELECTIONS * self.timing.election_ms / 1000, _CHANGE_S)
        if not await self.reaches_etcd(within_s):
            raise UnavailableError(
                "etcd does not answer: nothing was changed, and what runs keeps running; "
                "try again once most etcd members are back"
            )

    async def current(self) -> World:
        """Return the world to decide a change on, which `commit` then writes.

        Raises:
            UnavailableError: it is not known yet, or etcd takes no changes now.
        """
        self.need_view()
        await self.need_etcd()
        return self.world()

    async def commit(self, what: str, conditions: Sequence[Condition], ops: Sequence[Op]) -> None:
        """Write a change of `what`, and wait until this replica shows it.

        Nothing is tried again: what another has written since, its author has not seen.

        Raises:
            OvertakenError: a condition does not hold; nothing was written.
            StoreError: nothing was written; after an AmbiguousError it may have been.
        """
        try:
            revision = await self._store.txn(conditions, ops)
        except ConflictError as error:
            raise OvertakenError(
                f"{what}: nothing was changed, as {error.key.removeprefix(keys.ROOT)} has changed "
                "this moment; look, then try again"
            ) from error
        except AmbiguousError:
            done = await self._done(ops)
            if done is None:
                raise
            revision = done
        await self.seen(revision)

    async def _done(self, ops: Sequence[Op]) -> Revision | None:
        """Return when all was as `ops` want it; None: it is not, or nobody can say."""
        try:
            found = [await self._store.list(exactly(op.key)) for op in ops]
        except StoreError:
            return None
        is_done = all(_is_done(op, one) for op, one in zip(ops, found, strict=True))
        return max(one.revision for one in found) if is_done else None

    async def seen(self, revision: Revision) -> None:
        """Wait until this replica shows a change too, unless its view lags for long."""
        deadline_s = self._clock.monotonic_s() + _SEEN_S_MAX
        while self.revision < revision:
            left_s = deadline_s - self._clock.monotonic_s()
            if left_s <= 0:
                break
            await self.changes.wait(self.changes.count, left_s)

    def world(self) -> World:
        """Return the world as of the last change."""
        return self._reader.read(self._view)

    def judged(self) -> Judged:
        """Return what every node is held for now, and why."""
        world, now = self.world(), self._clock.monotonic_s()
        judged = judge(world, self._history, now, self.timing)
        self._history = judged.history
        return judged

    def verdicts(self) -> Verdicts:
        """Return what every node is held for now."""
        return self.judged().verdicts

    def leaderless_s(self) -> float:
        """Return for how long nobody has led, as this replica saw it; 0.0 while somebody leads."""
        now = self._clock.monotonic_s()
        if self.world().leader is not None:
            self._leaderless_since = None
        elif self._leaderless_since is None:
            self._leaderless_since = now
        return now - self._leaderless_since if self._leaderless_since is not None else 0.0

    def placed(self) -> tuple[Placed, ...]:
        """Return every allocation."""
        return placed(self.world(), self.verdicts())

    def stand(self, stack: StackName, *, found: Sequence[Placed] | None = None) -> Stand:
        """Return where a stack is now, with why slots have no node."""
        stand = self._quick_stand(stack, self.placed() if found is None else found)
        # To explain is to decide for the whole cluster: only where there is something to explain.
        if is_placed(stand):
            return stand
        unplaced = self._explain(stand.world, stack, self.timing)
        return msgspec.structs.replace(stand, unplaced=unplaced)

    def _quick_stand(self, stack: StackName, found: Sequence[Placed]) -> Stand:
        return Stand(
            world=self.world(),
            verdicts=self.verdicts(),
            stack=stack,
            found=found,
        )

    def waiting(self, found: Sequence[Placed]) -> Mapping[StackName, Waiting]:
        """Return what is in the way of every stack's services."""
        return {stack: waiting(self.stand(stack, found=found)) for stack in self.world().stacks}

    def waiting_quickly(self, found: Sequence[Placed]) -> Mapping[StackName, Waiting]:
        """Return the same but for slots without a node: a large cluster takes long to explain."""
        return {stack: waiting(self._quick_stand(stack, found)) for stack in self.world().stacks}

    def ground(self) -> Ground:
        """Return what a stack must fit in besides the other stacks."""
        return ground_of(self.world(), self.pools, self._edge)

    def standing_of(self, stack: StackName) -> Standing:
        """Return what is known of a stack besides its own record."""
        known = newest(self.world(), stack)
        return Standing(generation=known, rollouts=self.rollouts_of(stack))

    def rollouts_of(self, stack: StackName) -> Rollouts:
        """Return how far the updates of a stack's services are."""
        return {
            service: state.rollout
            for (owner, service), state in self.world().rollouts.items()
            if owner == stack
        }

    async def watch_nodes(self) -> NoReturn:
        """Note the moment when a node falls silent, for ever: it must not wait for a request."""
        while True:
            count = self.changes.count
            self.verdicts()
            self.leaderless_s()
            await self._clock.sleep(_LOOK_PAUSE_S)
            await self.changes.wait(count, _LOOK_AGAIN_S)


def _is_done(op: Op, found: Snapshot) -> bool:
    """Say whether a key is as a write wanted it."""
    now = found.items[0].value if found.items else None
    return now == (op.value if isinstance(op, Put) else None)
