"""What hafen needs of a store: revisions, conditional transactions, watches, leases.

The one implementation for production is shared.etcd; tests/fakes has a real MVCC in memory. Both
are held to tests/contract. Everything is one key-value space with one revision counter, as in etcd
v3.
"""

import asyncio
import enum
from collections.abc import AsyncGenerator, Callable, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from shared.model import Revision


class KeyRange(msgspec.Struct, frozen=True):
    """One key, or every key under a prefix."""

    key: str
    is_prefix: bool = False

    def __contains__(self, key: str) -> bool:
        """Say whether `key` lies in the range."""
        return key.startswith(self.key) if self.is_prefix else key == self.key


def exactly(key: str) -> KeyRange:
    """Return the range that holds one key."""
    return KeyRange(key)


def under(prefix: str) -> KeyRange:
    """Return the range of all keys that start with `prefix`."""
    return KeyRange(prefix, is_prefix=True)


class KeyValue(msgspec.Struct, frozen=True):
    """A key as it was at some revision. `lease` is 0 when it hangs on none."""

    key: str
    value: bytes
    create_revision: Revision
    mod_revision: Revision
    lease: int = 0


class Snapshot(msgspec.Struct, frozen=True):
    """Every key of a range at one revision, sorted by key."""

    items: tuple[KeyValue, ...]
    revision: Revision


class Change(msgspec.Struct, frozen=True):
    """One key's change; `now` is None when the key was deleted or its lease ended."""

    key: str
    now: KeyValue | None


class Batch(msgspec.Struct, frozen=True):
    """All changes of a range up to `revision` since the batch before; never a part of a revision.

    An empty batch says only that nothing happened up to `revision`.
    """

    changes: tuple[Change, ...]
    revision: Revision


class Compared(enum.Enum):
    """Which of a key's two revisions a comparison looks at."""

    MODIFIED = "mod_revision"
    CREATED = "create_revision"


class Compare(msgspec.Struct, frozen=True):
    """A condition of a transaction: the key still has this revision; 0 means that it is absent."""

    key: str
    revision: Revision
    what: Compared = Compared.MODIFIED


class Unchanged(msgspec.Struct, frozen=True):
    """A condition of a transaction: no key under `prefix` was written after `revision`.

    Deletions do not show here: compare the deleted key itself where they matter.
    """

    prefix: str
    revision: Revision


class Put(msgspec.Struct, frozen=True):
    """Write a key. `lease` 0: it stays until it is deleted."""

    key: str
    value: bytes
    lease: int = 0


class Delete(msgspec.Struct, frozen=True):
    """Delete one key; deleting an absent key is fine."""

    key: str


Condition = Compare | Unchanged
Op = Put | Delete

# etcd refuses more operations in one transaction (--max-txn-ops, default 128).
TXN_OPS_MAX = 128


class Lease(Protocol):
    """A lease that is being kept alive.

    `lost` is set before etcd can end the lease: when our own clock says that the last acknowledged
    keep-alive, counted from when it was sent, is `ttl_s` old, or when etcd says that it is gone.
    """

    @property
    def id(self) -> int:
        """Return etcd's id of the lease, for Put."""
        ...

    @property
    def ttl_s(self) -> float:
        """Return the seconds that etcd granted, which may be more than were asked for."""
        ...

    @property
    def ends_s(self) -> float:
        """Return when it ends if nothing more is acknowledged, on Clock.boot_s.

        Counted from the sending of the last keep-alive that was acknowledged.
        """
        ...

    @property
    def lost(self) -> asyncio.Event:
        """Return the event that is set, for ever, once the lease can no longer be relied on."""
        ...

    def on_renewed(self, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `ends_s` has moved on."""
        ...


class Store(Protocol):
    """An etcd v3 key space, reached through any of several members.

    Every call has a deadline of its own and raises one of the StoreErrors. Reads are linearizable
    and are retried inside; a write is sent again only where it certainly did not arrive.
    """

    def avoid(self, hosts: AbstractSet[str]) -> None:
        """Use no member of the store on these hosts (addresses) while there is another.

        They are said to be gone: what is under way there ends now, not when its time is up. The
        next call replaces the set.
        """
        ...

    async def list(self, keys: KeyRange) -> Snapshot:
        """Return every key of the range at one revision.

        Raises:
            UnavailableError: no member answered in time.
        """
        ...

    def watch(self, keys: KeyRange, *, after: Revision) -> AsyncGenerator[Batch, None]:
        """Yield every change after revision `after`, in order, none twice, across reconnections.

        Close it (contextlib.aclosing) when done. It never ends by itself.

        Raises:
            CompactedError: etcd no longer has the history; list again.
            DeniedError: the credentials may not read the range.
        """
        ...

    async def txn(self, conditions: Sequence[Condition], ops: Sequence[Op]) -> Revision:
        """Do all of `ops` if all `conditions` hold; return the revision of the write.

        Args:
            conditions: compared in one atomic step with the writes.
            ops: at most TXN_OPS_MAX; no key twice.

        Raises:
            ConflictError: a condition did not hold; nothing was written.
            AmbiguousError: it may or may not have been written.
            UnavailableError: nothing was written.
            LeaseLostError: a Put names a lease that has ended; nothing was written.
        """
        ...

    def lease(self, ttl_s: float, *, revoke: bool = True) -> AbstractAsyncContextManager[Lease]:
        """Grant a lease, keep it alive inside the `async with`, revoke it on leaving.

        Leaving because of an exception or cancellation revokes as well, within a short deadline;
        a lease that could not be revoked ends by itself. With `revoke` False it always ends by
        itself: its end then says that nobody has renewed it for its whole time.

        Raises:
            UnavailableError: no lease was granted.
        """
        ...

    async def revoke(self, lease_id: int) -> None:
        """End a lease, whoever holds it, and all that hangs on it; fine if it has ended.

        Raises:
            UnavailableError: no member answered in time; it may have ended all the same.
        """
        ...

    async def grant_for(self, ttl_s: float) -> int:
        """Grant a lease that nobody keeps alive and return its id.

        What hangs on it ends by itself.
        """
        ...
