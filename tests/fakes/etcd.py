"""An etcd cluster in memory: revisions, history, compaction, watches, leases that end on a clock.

Every method is synchronous and happens at once; what lies between a client and the cluster is
tests.fakes.store. Everything has a fixed order: with a deterministic event loop, the same calls
give the same answers. Its timers run in an empty context: they are the cluster's, not those of the
client that happens to be served.
"""

import asyncio
from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextvars import Context
from typing import Final

import msgspec

from shared.clock import Clock
from shared.errors import CompactedError, ConflictError, LeaseLostError
from shared.model import Revision
from shared.store import (
    TXN_OPS_MAX,
    Batch,
    Change,
    Compare,
    Compared,
    Condition,
    Delete,
    KeyRange,
    KeyValue,
    Op,
    Put,
    Snapshot,
    Unchanged,
)

# etcd looks for ended leases every half second: this is how late it is on average.
EXPIRY_LAG_S: Final = 0.25
# Greater than every character that keys are made of.
_LAST: Final = chr(0x10FFFF)


class _Revision(msgspec.Struct, frozen=True):
    number: int
    changes: tuple[Change, ...]


class _ServerLease:
    """A lease as the cluster sees it."""

    def __init__(self, id_: int, ttl_s: float, end_s: float) -> None:
        self.id, self.ttl_s, self.end_s = id_, ttl_s, end_s
        self.keys: set[str] = set()
        self.lag_s = 0.0
        self.timer: asyncio.TimerHandle | None = None


class Feed:
    """One watch as the cluster sees it: what it is to be sent."""

    def __init__(self, keys: KeyRange) -> None:
        self.keys = keys
        self.batches: deque[Batch] = deque()
        self.wake = asyncio.Event()
        self.is_open = False  # a watch that is not open is sent nothing; it replays when it opens


class FakeEtcd:
    """One key space; granting a lease needs a running event loop.

    Attributes:
        expiry_lag_s: asked for every lease: how late its end is noticed.
        has_leader: without one nothing is read, written, renewed or ended; clients look at it.
        terms: counts the leaders.
    """

    def __init__(
        self, clock: Clock, *, expiry_lag_s: Callable[[], float] = lambda: EXPIRY_LAG_S
    ) -> None:
        self.clock = clock
        self.revision = 1
        self.compacted = 0
        self.expiry_lag_s = expiry_lag_s
        self.has_leader, self.terms = True, 1
        self.context = Context()
        self._items: dict[str, KeyValue] = {}
        self._sorted: list[str] = []
        self._history: list[_Revision] = []
        self._leases: dict[int, _ServerLease] = {}
        self._lease_ids = 0
        # By range, so that a write costs nothing for each watch of another key.
        self._exact: dict[str, dict[Feed, None]] = {}
        self._prefixed: dict[str, dict[Feed, None]] = {}

    # ---- keys

    def list(self, keys: KeyRange) -> Snapshot:
        """Return every key of the range now."""
        names = self._under(keys.key) if keys.is_prefix else [keys.key]
        found = tuple(self._items[name] for name in names if name in self._items)
        return Snapshot(found, Revision(self.revision))

    def txn(self, conditions: Sequence[Condition], ops: Sequence[Op]) -> Revision:
        """Do all or nothing, at once."""
        assert len(ops) <= TXN_OPS_MAX, f"{len(ops)} operations; etcd takes {TXN_OPS_MAX}"
        assert len({op.key for op in ops}) == len(ops), "a transaction names no key twice"
        for condition in conditions:
            self._check(condition)
        for op in ops:
            if isinstance(op, Put) and op.lease and op.lease not in self._leases:
                raise LeaseLostError(f"requested lease {op.lease:x} not found")
        return self._write(ops)

    def compact(self, revision: int) -> None:
        """Forget all history up to `revision`: a watch can begin after it, not before."""
        assert self.compacted < revision <= self.revision
        self.compacted = revision
        numbers = [each.number for each in self._history]
        self._history = self._history[bisect_right(numbers, revision - 1) :]

    def replay(self, keys: KeyRange, after: int) -> Batch | None:
        """Return everything in the range after a revision.

        Raises:
            CompactedError: that is not known any more.
        """
        if after + 1 < self.compacted:
            raise CompactedError(self.compacted)
        first = bisect_left(self._history, after + 1, key=lambda each: each.number)
        missed = self._history[first:]
        changes = tuple(c for each in missed for c in each.changes if c.key in keys)
        if not changes:
            return None
        last = next(e for e in reversed(missed) if any(c.key in keys for c in e.changes))
        return Batch(changes, Revision(last.number))

    def _under(self, prefix: str) -> Sequence[str]:
        first = bisect_left(self._sorted, prefix)
        return self._sorted[first : bisect_left(self._sorted, prefix + _LAST, first)]

    def _check(self, condition: Condition) -> None:
        if isinstance(condition, Unchanged):
            for key in self._under(condition.prefix):
                found = self._items[key].mod_revision
                if found > condition.revision:
                    raise ConflictError(key, expected=condition.revision, found=found)
            return
        item = self._items.get(condition.key)
        compared = _revision_of(item, condition)
        if compared != condition.revision:
            raise ConflictError(condition.key, expected=condition.revision, found=compared)

    def _write(self, ops: Sequence[Op]) -> Revision:
        real = [op for op in ops if isinstance(op, Put) or op.key in self._items]
        if real:
            self.revision += 1
            changes = tuple(self._apply(op) for op in real)
            self._history.append(_Revision(self.revision, changes))
            self._publish(changes)
        return Revision(self.revision)

    def _apply(self, op: Op) -> Change:
        before = self._items.pop(op.key, None)
        if before is not None and before.lease in self._leases:
            self._leases[before.lease].keys.discard(op.key)
        if isinstance(op, Delete):
            del self._sorted[bisect_left(self._sorted, op.key)]
            return Change(op.key, None)
        if before is None:
            insort(self._sorted, op.key)
        if op.lease:
            self._leases[op.lease].keys.add(op.key)
        number = Revision(self.revision)
        created = number if before is None else before.create_revision
        now = KeyValue(op.key, op.value, created, number, op.lease)
        self._items[op.key] = now
        return Change(op.key, now)

    # ---- watches

    def open_feed(self, feed: Feed, after: int) -> None:
        """Send the feed all it missed, and everything from now on.

        Raises:
            CompactedError: what it missed is not known any more.
        """
        missed = self.replay(feed.keys, after)
        if missed is not None:
            feed.batches.append(missed)
        feed.is_open = True
        self._table(feed.keys).setdefault(feed.keys.key, {})[feed] = None

    def close_feed(self, feed: Feed) -> None:
        """Send the feed nothing more and forget what lies in it."""
        feed.is_open = False
        feed.batches.clear()
        table = self._table(feed.keys)
        feeds = table.get(feed.keys.key, {})
        feeds.pop(feed, None)
        if not feeds:
            table.pop(feed.keys.key, None)

    def _table(self, keys: KeyRange) -> dict[str, dict[Feed, None]]:
        return self._prefixed if keys.is_prefix else self._exact

    def _publish(self, changes: tuple[Change, ...]) -> None:
        number = Revision(self.revision)
        for change in changes:
            feeds = self._exact.get(change.key)
            if feeds:
                _feed(feeds, Batch((change,), number))
        for prefix, feeds in self._prefixed.items():
            wanted = [change for change in changes if change.key.startswith(prefix)]
            if wanted:
                _feed(feeds, Batch(tuple(wanted), number))

    # ---- leases

    def grant(self, ttl_s: float) -> int:
        """Grant a lease that ends `ttl_s` after its last renewal, and a little."""
        self._lease_ids += 1
        lease = _ServerLease(self._lease_ids, ttl_s, self.clock.monotonic_s() + ttl_s)
        lease.lag_s = self.expiry_lag_s()
        self._leases[lease.id] = lease
        self._look_at(lease)
        return lease.id

    def renew(self, id_: int) -> bool:
        """Let a lease last for its whole TTL from now; False: it has ended."""
        lease = self._leases.get(id_)
        if lease is None:
            return False
        lease.end_s = self.clock.monotonic_s() + lease.ttl_s
        return True

    def revoke(self, id_: int) -> None:
        """End a lease and delete what hangs on it."""
        lease = self._leases.pop(id_, None)
        if lease is None:
            return
        if lease.timer is not None:
            lease.timer.cancel()
        self._write([Delete(key) for key in sorted(lease.keys)])

    def _look_at(self, lease: _ServerLease) -> None:
        """End the lease if it is time, or look again when it may be."""
        left_s = lease.end_s + lease.lag_s - self.clock.monotonic_s()
        if not self.has_leader:
            lease.timer = None  # the next leader looks
        elif left_s > 0:
            loop = asyncio.get_running_loop()
            lease.timer = loop.call_later(left_s, self._look_at, lease, context=self.context)
        else:
            self.revoke(lease.id)

    # ---- leaders

    def lose_leader(self) -> None:
        """Stand still until the next election."""
        self.has_leader = False

    def elect(self) -> None:
        """Go on with a new leader, which lets every lease last for its whole time from now."""
        if self.has_leader:
            return
        self.has_leader = True
        self.terms += 1
        for lease in self._leases.values():
            lease.end_s = self.clock.monotonic_s() + lease.ttl_s
            if lease.timer is None:
                self._look_at(lease)


def _feed(feeds: Iterable[Feed], batch: Batch) -> None:
    for feed in feeds:
        feed.batches.append(batch)
        feed.wake.set()


def _revision_of(item: KeyValue | None, condition: Compare) -> int:
    if item is None:
        return 0
    return item.create_revision if condition.what is Compared.CREATED else item.mod_revision
