"""Who leads.

One key under a lease; its create_revision is the fence that every leader's write compares. A leader
that is held for gone is not waited for: its lease is revoked, and should it live, its fence refuses
its writes.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager

import msgspec

from shared import codec, keys
from shared.cancelling import heed_cancellation
from shared.errors import AmbiguousError, ConflictError, FencedError, StoreError
from shared.model import Leader, Revision
from shared.store import Compare, Compared, Condition, KeyValue, Lease, Op, Put, Store, exactly

# Returns once that leader is held for gone.
UntilGone = Callable[[Leader], Awaitable[None]]


class Fence(msgspec.Struct, frozen=True):
    """The right to write as leader: the create_revision of the leader key that we made."""

    token: Revision

    @property
    def condition(self) -> Compare:
        """Return the condition that holds only while this fence's leader leads."""
        return Compare(keys.LEADER, self.token, Compared.CREATED)


@asynccontextmanager
async def campaign(
    store: Store, me: Leader, *, ttl_s: float, until_gone: UntilGone | None = None
) -> AsyncGenerator[tuple[Fence, Lease], None]:
    """Wait until `me` leads; inside the `async with` it does, as long as the lease is not lost.

    The caller must stop when `lease.lost` is set. A write that is late all the same is refused by
    its fence.

    Args:
        store: where the key is.
        me: what it says.
        ttl_s: of its lease.
        until_gone: how to know that whoever leads is gone; None: its lease alone says so.

    Raises:
        StoreError: the lease could not be had, or the store went away while waiting; campaign
            again.
    """
    async with store.lease(ttl_s) as lease:
        token = await _take(store, me, lease, until_gone)
        yield Fence(token), lease


async def _take(store: Store, me: Leader, lease: Lease, until_gone: UntilGone | None) -> Revision:
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
            await _wait_until_free(store, seen.items[0], seen.revision, until_gone)


async def _wait_until_free(
    store: Store, held: KeyValue, after: Revision, until_gone: UntilGone | None
) -> None:
    failed: list[Exception] = []
    try:
        async with asyncio.TaskGroup() as group:
            deposing = group.create_task(_depose(store, held, until_gone))
            await _until_deleted(store, after)
            deposing.cancel()
    except* StoreError as errors:
        # Python before 3.11.4 makes a group of whatever is raised in here, cancellations too.
        failed.extend(errors.exceptions)
    heed_cancellation()
    if failed:
        raise failed[0]


async def _depose(store: Store, held: KeyValue, until_gone: UntilGone | None) -> None:
    """End the lease that the leader key hangs on, once who put it there is gone.

    Should somebody else lead by then, the key hangs on another lease, and this one matters to
    nobody.
    """
    if until_gone is None or not held.lease:
        return
    leader = codec.readable(Leader, held.value, held.key)
    if leader is None:
        return  # Nobody knows who leads: the lease decides.
    await until_gone(leader)
    now = (await store.list(exactly(keys.LEADER))).items
    if now and now[0].lease == held.lease:
        await store.revoke(held.lease)


async def _until_deleted(store: Store, after: Revision) -> None:
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
