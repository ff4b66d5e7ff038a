"""Who leads.

One key under a lease; its create_revision is the fence that every leader's write compares.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

import msgspec

from shared import codec, keys
from shared.errors import AmbiguousError, ConflictError, FencedError
from shared.model import Leader, Revision
from shared.store import Compare, Compared, Condition, Lease, Op, Put, Store, exactly

LEADER_TTL_S: Final = 2.0


class Fence(msgspec.Struct, frozen=True):
    """The right to write as leader: the create_revision of the leader key that we made."""

    token: Revision

    @property
    def condition(self) -> Compare:
        """Return the condition that holds only while this fence's leader leads."""
        return Compare(keys.LEADER, self.token, Compared.CREATED)


@asynccontextmanager
async def campaign(
    store: Store, me: Leader, *, ttl_s: float = LEADER_TTL_S
) -> AsyncGenerator[tuple[Fence, Lease], None]:
    """Wait until `me` leads; inside the `async with` it does, as long as the lease is not lost.

    The caller must stop when `lease.lost` is set. A write that is late all the same is refused by
    its fence.

    Raises:
        StoreError: the lease could not be had, or the store went away while waiting; campaign
            again.
    """
    async with store.lease(ttl_s) as lease:
        token = await _take(store, me, lease)
        yield Fence(token), lease


async def _take(store: Store, me: Leader, lease: Lease) -> Revision:
    while True:
        try:
            # The write's revision is the create_revision of the key it creates.
            return await store.txn(
                [Compare(keys.LEADER, Revision(0))],
                [Put(keys.LEADER, codec.encode(me), lease.id)],
            )
        except (ConflictError, AmbiguousError):
            # An ambiguous write may have made us leader: the key then hangs on our lease.
            seen = await store.list(exactly(keys.LEADER))
        if seen.items and seen.items[0].lease == lease.id:
            return seen.items[0].create_revision
        if seen.items:
            await _wait_until_free(store, seen.revision)


async def _wait_until_free(store: Store, after: Revision) -> None:
    async with aclosing(store.watch(exactly(keys.LEADER), after=after)) as batches:
        async for batch in batches:
            if any(change.now is None for change in batch.changes):
                return


async def fenced_txn(
    store: Store, fence: Fence, conditions: Sequence[Condition], ops: Sequence[Op]
) -> Revision:
    """Do a leader's transaction.

    Raises:
        FencedError: we no longer lead.
        ConflictError, AmbiguousError, UnavailableError: as Store.txn.
    """
    try:
        return await store.txn([fence.condition, *conditions], ops)
    except ConflictError as error:
        if error.key == keys.LEADER:
            raise FencedError(fence.token) from error
        raise
