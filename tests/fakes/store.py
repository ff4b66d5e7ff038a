"""One client's way to a FakeEtcd, which can be cut, in one direction too, made ambiguous, or slow.

Faults are switches that a test or a simulation sets; nothing here rolls dice.
"""

import asyncio
import enum
from collections.abc import AsyncGenerator, Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager, suppress
from contextvars import copy_context
from typing import Final

from shared.clock import Clock
from shared.errors import AmbiguousError, ConflictError, StoreError, UnavailableError
from shared.model import Revision
from shared.store import Batch, Condition, KeyRange, Op, Snapshot
from tests.fakes.etcd import FakeEtcd, Feed

__all__ = ["FakeEtcd", "FakeLease", "FakeStore", "Way", "WriteFate"]

# How long a client that is cut tries before it says so.
UNREACHABLE_S: Final = 1.0
# The first keep-alive comes early, however long the lease is.
_FIRST_S: Final = 1.0
# A timer rings by the loop's clock; the owner's may be wrong by less than 2 %.
_EARLY: Final = 0.98
# Two readings of a clock that are this close are the same moment.
_SAME_S: Final = 1e-6


class WriteFate(enum.Enum):
    """What becomes of one write."""

    NORMAL = "normal"
    ANSWER_LOST = "answer_lost"  # written, but AmbiguousError
    REQUEST_LOST = "request_lost"  # not written, and AmbiguousError
    REFUSED = "refused"  # not written, and UnavailableError
    LATE = "late"  # AmbiguousError, and written when nobody thinks of it any more


class Way(enum.Enum):
    """What passes between a client and the cluster."""

    OPEN = "open"
    CUT = "cut"  # nothing; the client notices that there is no connection
    DEAF = "deaf"  # requests arrive, answers do not
    MUTE = "mute"  # requests do not arrive; what the cluster sends on its own does


class FakeLease:
    """A lease as its owner sees it; implements shared.store.Lease."""

    def __init__(
        self,
        id_: int,
        ttl_s: float,
        *,
        sent_s: float,
        clock: Clock,
        ask: Callable[[Callable[[bool], None]], None],
    ) -> None:
        """Begin to keep it.

        Args:
            id_: the cluster's.
            ttl_s: as granted.
            sent_s: when it was asked for, by the boot clock.
            clock: the owner's.
            ask: sends a keep-alive; the callback is told, if an answer comes, whether the lease is
                there.
        """
        self._id, self._ttl_s, self._clock, self._ask = id_, ttl_s, clock, ask
        self._ends_s = sent_s + ttl_s
        self._lost = asyncio.Event()
        self._renewed: list[Callable[[], None]] = []
        loop = asyncio.get_running_loop()
        self._end: asyncio.Handle = loop.call_soon(self._ring)
        self._next = loop.call_later(min(_FIRST_S, ttl_s / 3), self._keep)

    @property
    def id(self) -> int:
        """Return the cluster's id of the lease."""
        return self._id

    @property
    def ttl_s(self) -> float:
        """Return the seconds that were granted."""
        return self._ttl_s

    @property
    def ends_s(self) -> float:
        """Return when it ends unless it is renewed, on the boot clock."""
        return self._ends_s

    @property
    def lost(self) -> asyncio.Event:
        """Return the event that is set once the lease cannot be relied on."""
        return self._lost

    def on_renewed(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `ends_s` has moved on."""
        self._renewed.append(callback)

    def stop(self) -> None:
        """Keep it no longer."""
        self._end.cancel()
        self._next.cancel()
        self._renewed.clear()

    def _ring(self) -> None:
        left_s = self._ends_s - self._clock.boot_s()
        if left_s > _SAME_S:
            loop = asyncio.get_running_loop()
            self._end = loop.call_later(max(left_s * _EARLY, _SAME_S), self._ring)
        else:
            self._lost.set()

    def _keep(self) -> None:
        if self._lost.is_set():
            return
        sent_s = self._clock.boot_s()
        self._ask(lambda is_there: self._answered(sent_s, is_there=is_there))
        self._next = asyncio.get_running_loop().call_later(self._ttl_s / 3, self._keep)

    def _answered(self, sent_s: float, *, is_there: bool) -> None:
        if not is_there:
            self._lost.set()
        elif sent_s + self._ttl_s > self._ends_s:
            self._ends_s = sent_s + self._ttl_s
            for callback in self._renewed:
                callback()


class FakeStore:
    """A client named `name`; implements shared.store.Store.

    Attributes:
        latency_s: asked for every way of every call.
        watch_delay_s: asked for every batch that a watch delivers.
        write_fate: asked for every write that reaches the cluster.
        late_s: asked for every write that is late.
    """

    def __init__(self, server: FakeEtcd, name: str, clock: Clock | None = None) -> None:
        self.server, self.name = server, name
        self.latency_s: Callable[[], float] = _none_s
        self.watch_delay_s: Callable[[], float] = _none_s
        self.write_fate: Callable[[], WriteFate] = _normal
        self.late_s: Callable[[], float] = _none_s
        self._clock = clock if clock is not None else server.clock
        self._way = Way.OPEN
        self._healed = asyncio.Event()
        self._healed.set()
        self._feeds: dict[Feed, None] = {}

    @property
    def is_cut(self) -> bool:
        """Say whether the cluster cannot be reached."""
        return self._way is Way.CUT

    def cut(self) -> None:
        """Lose the way to the cluster: calls fail, watches are silent, leases are not renewed."""
        self.impede(Way.CUT)
        self.drop_watches()

    def impede(self, way: Way) -> None:
        """Let only so much pass from now on."""
        self._way = way
        self._healed.clear()

    def heal(self) -> None:
        """Find the way again: watches go on where they were."""
        self._way = Way.OPEN
        self._healed.set()

    def drop_watches(self) -> None:
        """Break every stream; what was not delivered is sent again on the next one."""
        for feed in self._feeds:
            self.server.close_feed(feed)
            feed.wake.set()

    def avoid(self, hosts: AbstractSet[str]) -> None:
        """Do nothing: this cluster is on no host."""

    async def list(self, keys: KeyRange) -> Snapshot:
        """Return every key of the range at one revision."""
        await self._reach()
        snapshot = self.server.list(keys)
        await self._return()
        return snapshot

    async def watch(self, keys: KeyRange, *, after: Revision) -> AsyncGenerator[Batch, None]:
        """Yield every change after revision `after`, in order, none twice."""
        feed = Feed(keys)
        self._feeds[feed] = None
        try:
            while True:
                await self._be_fed(feed, after)
                delay_s = self.watch_delay_s()
                if delay_s > 0:
                    await self._clock.sleep(delay_s)
                while not self._answers_pass():
                    await self._healed.wait()
                if feed.batches:  # else the stream broke in the meantime
                    batch = feed.batches.popleft()
                    after = batch.revision
                    yield batch
        finally:
            self.server.close_feed(feed)
            del self._feeds[feed]

    async def txn(self, conditions: Sequence[Condition], ops: Sequence[Op]) -> Revision:
        """Do all of `ops` if all `conditions` hold; return the revision of the write."""
        await self._reach(is_write=True)
        fate, term = self.write_fate(), self.server.terms
        if fate is WriteFate.REFUSED:
            raise UnavailableError(f"{self.name}: etcd has no leader")
        if fate is WriteFate.LATE:
            asyncio.get_running_loop().call_later(
                self.late_s(), self._write_late, conditions, ops, context=self.server.context
            )
        if fate in {WriteFate.REQUEST_LOST, WriteFate.LATE}:
            raise AmbiguousError(f"{self.name}: no answer to a write")
        answer = self._write(conditions, ops)
        try:
            await self._return()
        except UnavailableError as error:
            raise AmbiguousError(str(error)) from error
        if fate is WriteFate.ANSWER_LOST or term != self.server.terms:
            raise AmbiguousError(f"{self.name}: no answer to a write")
        if isinstance(answer, ConflictError):
            raise answer
        return answer

    @asynccontextmanager
    async def lease(self, ttl_s: float, *, revoke: bool = True) -> AsyncGenerator[FakeLease, None]:
        """Grant a lease, keep it alive inside the `async with`, revoke it on leaving."""
        sent_s = self._clock.boot_s()
        id_ = await self.grant_for(ttl_s)
        lease = FakeLease(
            id_,
            ttl_s,
            sent_s=sent_s,
            clock=self._clock,
            ask=lambda answered: self._keep_alive(id_, answered),
        )
        try:
            yield lease
        finally:
            lease.stop()
            if revoke and self._requests_pass():
                self.server.revoke(id_)

    async def revoke(self, lease_id: int) -> None:
        """End a lease, whoever holds it; fine if it has ended."""
        await self._reach()
        self.server.revoke(lease_id)
        await self._return()

    async def grant_for(self, ttl_s: float) -> int:
        """Grant a lease that nobody keeps alive and return its id."""
        await self._reach()
        id_ = self.server.grant(ttl_s)
        await self._return()
        return id_

    def _keep_alive(self, id_: int, answered: Callable[[bool], None]) -> None:
        """Send a keep-alive: once sent it travels by itself, whatever becomes of its sender."""
        loop, ours, cluster = asyncio.get_running_loop(), copy_context(), self.server.context

        def arrive() -> None:
            if self._requests_pass():
                is_there = self.server.renew(id_)
                loop.call_later(self.latency_s(), answer, is_there, context=cluster)

        def answer(is_there: bool) -> None:  # noqa: FBT001 - etcd's answer is just this
            if self._answers_pass():
                loop.call_soon(answered, is_there, context=ours)

        loop.call_later(self.latency_s(), arrive, context=cluster)

    async def _be_fed(self, feed: Feed, after: Revision) -> None:
        """Return when the feed holds a batch."""
        while not feed.batches:
            feed.wake.clear()
            if feed.is_open:
                await feed.wake.wait()
                continue
            while self._way in {Way.CUT, Way.MUTE}:
                await self._healed.wait()
            self._open(feed, after)

    def _open(self, feed: Feed, after: Revision) -> None:
        """Ask the cluster for everything after a revision."""
        self.server.open_feed(feed, after)

    def _write(
        self, conditions: Sequence[Condition], ops: Sequence[Op]
    ) -> Revision | ConflictError:
        try:
            return self.server.txn(conditions, ops)
        except ConflictError as error:
            return error

    def _write_late(self, conditions: Sequence[Condition], ops: Sequence[Op]) -> None:
        if self.server.has_leader:
            with suppress(StoreError):
                self._write(conditions, ops)

    def _requests_pass(self) -> bool:
        return self.server.has_leader and (self._way is Way.OPEN or self._way is Way.DEAF)

    def _answers_pass(self) -> bool:
        return self._way is Way.OPEN or self._way is Way.MUTE

    async def _travel(self) -> None:
        await self._clock.sleep(self.latency_s())

    async def _reach(self, *, is_write: bool = False) -> None:
        """Return at the cluster.

        Raises:
            UnavailableError: there is no way, and none was found in time.
            AmbiguousError: a write was sent, and its sender cannot know that it did not arrive.
        """
        await self._travel()
        if not self._requests_pass():
            await self._clock.sleep(UNREACHABLE_S)
        if self._requests_pass():
            return
        if is_write and not self.is_cut:
            raise AmbiguousError(f"{self.name}: no answer to a write")
        raise UnavailableError(f"{self.name} cannot reach etcd")

    async def _return(self) -> None:
        """Return with the answer.

        Raises:
            UnavailableError: it did not come.
        """
        await self._travel()
        if self._way is Way.DEAF:
            await self._clock.sleep(UNREACHABLE_S)
        if not self._answers_pass():
            raise UnavailableError(f"{self.name} cannot reach etcd")


def _none_s() -> float:
    return 0.0


def _normal() -> WriteFate:
    return WriteFate.NORMAL
