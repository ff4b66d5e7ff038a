"""What the contract of shared.store is tried on: a store in memory, and real etcd members."""

import itertools
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final, Protocol

from shared.clock import SystemClock
from shared.errors import AmbiguousError
from shared.etcd.store import EtcdStore
from shared.model import Revision
from shared.settings import EtcdSettings
from shared.store import Batch, Compare, Put, Store, exactly
from tests.contract.etcd_server import EtcdCluster, EtcdMember
from tests.fakes.store import FakeEtcd, FakeStore

# Enough for an election, a lease and a busy machine; nothing should ever take so long.
WITHIN_S: Final = 15.0
_NUMBERS = itertools.count(1)


class Rig(Protocol):
    """A cluster, and clients of it that can be cut off."""

    @property
    def prefix(self) -> str:
        """Return a part of the key space that only this test uses; ends with a slash."""
        ...

    @property
    def ttl_s(self) -> float:
        """Return the shortest lease there is."""
        ...

    def client(self) -> AbstractAsyncContextManager[Store]:
        """Return a client of all members."""
        ...

    def lonely_client(self) -> AbstractAsyncContextManager[Store]:
        """Return a client that `cut` can cut off from the cluster."""
        ...

    def cut(self) -> None:
        """Cut the lonely client off, while the rest of the cluster goes on."""
        ...

    def heal(self) -> None:
        """Undo `cut`."""
        ...

    def compact(self, revision: int) -> None:
        """Forget history before a revision."""
        ...

    def revoke(self, lease: int) -> None:
        """End a lease behind its owner's back."""
        ...


class FakeRig:
    """The store in memory."""

    ttl_s = 0.3

    def __init__(self) -> None:
        self.prefix = "/t/"
        self.etcd = FakeEtcd(SystemClock())
        self._lonely = FakeStore(self.etcd, "lonely")

    @asynccontextmanager
    async def client(self) -> AsyncGenerator[Store, None]:
        """Return a client of the cluster."""
        yield FakeStore(self.etcd, "client")

    @asynccontextmanager
    async def lonely_client(self) -> AsyncGenerator[Store, None]:
        """Return the client that can be cut off."""
        yield self._lonely

    def cut(self) -> None:
        """Cut the lonely client off."""
        self._lonely.cut()

    def heal(self) -> None:
        """Undo `cut`."""
        self._lonely.heal()

    def compact(self, revision: int) -> None:
        """Forget history before a revision."""
        self.etcd.compact(revision)

    def revoke(self, lease: int) -> None:
        """End a lease behind its owner's back."""
        self.etcd.revoke(lease)


class EtcdRig:
    """Three real members; the lonely client knows only one of them, which does not lead."""

    ttl_s = 1.0

    def __init__(self, cluster: EtcdCluster) -> None:
        self.prefix = f"/t{next(_NUMBERS)}/"
        self.cluster = cluster
        self.is_hurt = False

    def client(self, *members: EtcdMember) -> EtcdStore:
        """Return a client of these members, or of all."""
        endpoints = tuple(member.endpoint for member in members or self.cluster.members)
        return EtcdStore(EtcdSettings(endpoints=endpoints))

    @asynccontextmanager
    async def lonely_client(self) -> AsyncGenerator[EtcdStore, None]:
        """Return a client of one follower."""
        self._follower = await self.follower()
        async with self.client(self._follower) as store:
            yield store

    async def leader(self) -> EtcdMember:
        """Return the member that leads."""
        async with self.client() as store:
            leading = next(each.endpoint for each in await store.status() if each.is_leader)
        return self.named(leading)

    async def follower(self) -> EtcdMember:
        """Return a member that does not lead."""
        leader = await self.leader()
        return next(member for member in self.cluster.members if member is not leader)

    def named(self, endpoint: str) -> EtcdMember:
        """Return the member that listens there."""
        return next(member for member in self.cluster.members if member.endpoint == endpoint)

    def others(self, member: EtcdMember) -> list[EtcdMember]:
        """Return all members but this one."""
        return [each for each in self.cluster.members if each is not member]

    def kill(self, member: EtcdMember) -> None:
        """End a member; it is back after the test."""
        self.is_hurt = True
        member.kill()

    def freeze(self, member: EtcdMember) -> None:
        """Stop a member; it goes on after the test."""
        self.is_hurt = True
        member.freeze()

    def cut(self) -> None:
        """Freeze the member that the lonely client knows."""
        self.freeze(self._follower)

    def heal(self) -> None:
        """Undo `cut`."""
        self._follower.thaw()

    def compact(self, revision: int) -> None:
        """Forget history before a revision."""
        self.cluster.ctl("compaction", str(revision))

    def revoke(self, lease: int) -> None:
        """End a lease behind its owner's back."""
        self.cluster.ctl("lease", "revoke", f"{lease:x}")


async def put_surely(store: Store, key: str, value: bytes = b"") -> Revision:
    """Create a key, however often the answer is lost; return the revision of the one write."""
    while True:
        try:
            return await store.txn([Compare(key, Revision(0))], [Put(key, value)])
        except AmbiguousError:
            found = (await store.list(exactly(key))).items
        if found:
            return found[0].create_revision


def keys_of(batch: Batch) -> list[str]:
    """Return the keys of a batch's changes, in order."""
    return [change.key for change in batch.changes]
