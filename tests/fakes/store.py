"""One client's way to a FakeEtcd, which can be cut, made ambiguous, or slow.

Faults are switches that a test or a simulation sets; nothing here rolls dice.
"""

import asyncio
import enum
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from shared.errors import AmbiguousError, ConflictError, UnavailableError
from shared.model import Revision
from shared.store import Batch, Condition, KeyRange, Op, Snapshot
from tests.fakes.etcd import FakeEtcd, Feed

__all__ = ["FakeEtcd", "FakeLease", "FakeStore", "WriteFate"]

# How long a client that is cut tries before it says so.
UNREACHABLE_S: Final = 1.0
# The first keep-alive comes early, however long the lease is.
_FIRST_S: Final = 1.0


class WriteFate(enum.Enum):
    """What becomes of one write."""

    NORMAL = "normal"
    ANSWER_LOST = "answer_lost"  # written, but AmbiguousError
    REQUEST_LOST = "request_lost"  # not written, and AmbiguousError
    REFUSED = "refused"  # not written, and UnavailableError


class FakeLease:
    """A lease as its owner sees it; implements shared.store.Lease."""

    def __init__(self, id_: int, ttl_s: float, renew: Callable[[], bool | None]) -> None:
        """Begin to keep it.

        Args:
            id_: the cluster's.
            ttl_s: as granted.
            renew: asks the cluster: True when it did, False when the lease has ended, None when
                it cannot be reached.
        """
        self._id, self._ttl_s, self._renew = id_, ttl_s, renew
        self._lost = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._end = loop.call_later(ttl_s, self._lost.set)
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
    def lost(self) -> asyncio.Event:
        """Return the event that is set once the lease cannot be relied on."""
        return self._lost

    def stop(self) -> None:
        """Keep it no longer."""
        self._end.cancel()
        self._next.cancel()

    def _keep(self) -> None:
        if self._lost.is_set():
            return
        loop = asyncio.get_running_loop()
        renewed = self._renew()
        if renewed is False:
            self._lost.set()
            return
        if renewed:
            self._end.cancel()
            self._end = loop.call_later(self._ttl_s, self._lost.set)
        self._next = loop.call_later(self._ttl_s / 3, self._keep)


class FakeStore:
    """A client named `name`; implements shared.store.Store.

    Attributes:
        latency_s: asked for every way of every call.
        watch_delay_s: asked for every batch that a watch delivers.
        write_fate: asked for every write that reaches the cluster.
    """

    def __init__(self, server: FakeEtcd, name: str) -> None:
        self.server, self.name = server, name
        self.latency_s: Callable[[], float] = _none_s
        self.watch_delay_s: Callable[[], float] = _none_s
        self.write_fate: Callable[[], WriteFate] = _normal
        self._connected = asyncio.Event()
        self._connected.set()
        self._feeds: dict[Feed, None] = {}

    @property
    def is_cut(self) -> bool:
        """Say whether the cluster cannot be reached."""
        return not self._connected.is_set()

    def cut(self) -> None:
        """Lose the way to the cluster: calls fail, watches are silent, leases are not renewed."""
        self._connected.clear()
        self.drop_watches()

    def heal(self) -> None:
        """Find the way again: watches go on where they were."""
        self._connected.set()

    def drop_watches(self) -> None:
        """Break every stream; what was not delivered is sent again on the next one."""
        for feed in self._feeds:
            self.server.close_feed(feed)
            feed.wake.set()

    async def list(self, keys: KeyRange) -> Snapshot:
        """Return every key of the range at one revision."""
        await self._reach()
        snapshot = self.server.list(keys)
        await self._travel()
        if self.is_cut:
            raise UnavailableError(f"{self.name} cannot reach etcd")
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
                    await self.server.clock.sleep(delay_s)
                if feed.batches:  # else the stream broke in the meantime
                    batch = feed.batches.popleft()
                    after = batch.revision
                    yield batch
        finally:
            self.server.close_feed(feed)
            del self._feeds[feed]

    async def txn(self, conditions: Sequence[Condition], ops: Sequence[Op]) -> Revision:
        """Do all of `ops` if all `conditions` hold; return the revision of the write."""
        await self._reach()
        fate = self.write_fate()
        if fate is WriteFate.REFUSED:
            raise UnavailableError(f"{self.name}: etcd has no leader")
        if fate is WriteFate.REQUEST_LOST:
            raise AmbiguousError(f"{self.name}: no answer to a write")
        answer = self._write(conditions, ops)
        await self._travel()
        if fate is WriteFate.ANSWER_LOST or self.is_cut:
            raise AmbiguousError(f"{self.name}: no answer to a write")
        if isinstance(answer, ConflictError):
            raise answer
        return answer

    @asynccontextmanager
    async def lease(self, ttl_s: float) -> AsyncGenerator[FakeLease, None]:
        """Grant a lease, keep it alive inside the `async with`, revoke it on leaving."""
        id_ = await self.grant_for(ttl_s)
        lease = FakeLease(id_, ttl_s, lambda: None if self.is_cut else self.server.renew(id_))
        try:
            yield lease
        finally:
            lease.stop()
            if not self.is_cut:
                self.server.revoke(id_)

    async def grant_for(self, ttl_s: float) -> int:
        """Grant a lease that nobody keeps alive and return its id."""
        await self._reach()
        return self.server.grant(ttl_s)

    async def _be_fed(self, feed: Feed, after: Revision) -> None:
        """Return when the feed holds a batch."""
        while not feed.batches:
            feed.wake.clear()
            if not feed.is_open:
                await self._connected.wait()
                self.server.open_feed(feed, after)
            else:
                await feed.wake.wait()

    def _write(
        self, conditions: Sequence[Condition], ops: Sequence[Op]
    ) -> Revision | ConflictError:
        try:
            return self.server.txn(conditions, ops)
        except ConflictError as error:
            return error

    async def _travel(self) -> None:
        await self.server.clock.sleep(self.latency_s())

    async def _reach(self) -> None:
        """Return at the cluster.

        Raises:
            UnavailableError: there is no way, and none was found in time.
        """
        await self._travel()
        if self.is_cut:
            await self.server.clock.sleep(UNREACHABLE_S)
        if self.is_cut:
            raise UnavailableError(f"{self.name} cannot reach etcd")


def _none_s() -> float:
    return 0.0


def _normal() -> WriteFate:
    return WriteFate.NORMAL
