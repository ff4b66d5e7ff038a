"""Leadership, on the store in memory and on real etcd members."""

import asyncio

import pytest

from shared import codec, keys
from shared.election import Fence, UntilGone, campaign, fenced_txn
from shared.errors import AmbiguousError, ConflictError, FencedError, UnavailableError
from shared.model import Leader, NodeName, Revision
from shared.store import Compare, Put, Store, exactly
from tests.contract.store_rig import WITHIN_S, Rig
from tests.waiting import until

ONE, TWO = Leader(node=NodeName("one")), Leader(node=NodeName("two"))
_LONG_S = 4 * WITHIN_S


class Candidate:
    """Somebody who campaigns and leads until told to stop."""

    def __init__(
        self, store: Store, me: Leader, ttl_s: float, until_gone: UntilGone | None = None
    ) -> None:
        self.fence: Fence | None = None
        self.stop = asyncio.Event()
        self._store, self._me, self._ttl_s = store, me, ttl_s
        self._until_gone = until_gone

    @property
    def leads(self) -> bool:
        """Say whether it was elected."""
        return self.fence is not None

    async def run(self) -> None:
        """Campaign, then lead."""
        async with campaign(
            self._store, self._me, ttl_s=self._ttl_s, until_gone=self._until_gone
        ) as (fence, _):
            self.fence = fence
            await self.stop.wait()


async def seen_leader(store: Store) -> Leader:
    """Return who leads, as everybody sees it."""
    (item,) = (await store.list(exactly(keys.LEADER))).items
    return codec.decode(Leader, item.value, item.key)


async def test_one_leads_at_a_time_and_the_next_one_follows(rig: Rig) -> None:
    async with rig.client() as store, rig.client() as other, asyncio.TaskGroup() as group:
        first, second = Candidate(store, ONE, rig.ttl_s), Candidate(other, TWO, rig.ttl_s)
        group.create_task(first.run())
        await until(lambda: first.leads, WITHIN_S)
        group.create_task(second.run())
        assert first.fence is not None
        await fenced_txn(store, first.fence, [], [Put(rig.prefix + "key", b"")])
        seen = [await seen_leader(other)]
        led_together = second.leads
        first.stop.set()
        await until(lambda: second.leads, WITHIN_S)
        seen.append(await seen_leader(store))
        second.stop.set()

    assert not led_together
    assert seen == [ONE, TWO]


async def test_a_leader_that_is_cut_off_is_replaced_and_its_late_writes_are_refused(
    rig: Rig,
) -> None:
    key = rig.prefix + "key"
    async with (
        rig.client() as store,
        rig.lonely_client() as lonely,
        campaign(lonely, ONE, ttl_s=rig.ttl_s) as (old, lease),
        asyncio.TaskGroup() as group,
    ):
        await fenced_txn(lonely, old, [], [Put(key, b"old")])
        new = Candidate(store, TWO, rig.ttl_s)
        group.create_task(new.run())
        rig.cut()
        await until(lambda: new.leads, WITHIN_S)
        was_told = lease.lost.is_set()
        rig.heal()
        assert new.fence is not None
        with pytest.raises(FencedError):
            await _until_answered(lonely, old, key)
        await fenced_txn(store, new.fence, [], [Put(key, b"new")])
        values = [item.value for item in (await store.list(exactly(key))).items]
        new.stop.set()

    assert was_told
    assert new.fence.token > old.token
    assert values == [b"new"]


async def test_a_fenced_write_tells_a_lost_race_from_a_lost_office(rig: Rig) -> None:
    key = rig.prefix + "key"
    async with rig.client() as store:
        async with campaign(store, ONE, ttl_s=rig.ttl_s) as (fence, _):
            await fenced_txn(store, fence, [Compare(key, Revision(0))], [Put(key, b"")])
            with pytest.raises(ConflictError) as lost_race:
                await fenced_txn(store, fence, [Compare(key, Revision(0))], [Put(key, b"")])
        with pytest.raises(FencedError) as lost_office:
            await fenced_txn(store, fence, [Compare(key, Revision(0))], [Put(key, b"")])

    assert lost_race.value.key == key
    assert lost_office.value.fence == fence.token


async def test_a_leader_that_is_held_for_gone_is_deposed_while_its_lease_lives(rig: Rig) -> None:
    key, is_suspected = rig.prefix + "key", asyncio.Event()
    asked: list[Leader] = []

    async def until_gone(leader: Leader) -> None:
        asked.append(leader)
        await is_suspected.wait()

    async with (
        rig.client() as store,
        rig.client() as other,
        # Much longer than the test: only being deposed can end it.
        campaign(store, ONE, ttl_s=_LONG_S) as (old, lease),
        asyncio.TaskGroup() as group,
    ):
        new = Candidate(other, TWO, rig.ttl_s, until_gone)
        group.create_task(new.run())
        await until(lambda: bool(asked), WITHIN_S)
        await fenced_txn(store, old, [], [Put(key, b"old")])
        led_together = new.leads
        is_suspected.set()
        await until(lambda: new.leads, WITHIN_S)
        with pytest.raises(FencedError):
            await fenced_txn(store, old, [], [Put(key, b"late")])
        assert new.fence is not None
        await fenced_txn(other, new.fence, [], [Put(key, b"new")])
        values = [item.value for item in (await store.list(exactly(key))).items]
        await until(lease.lost.is_set, WITHIN_S)
        seen = await seen_leader(store)
        new.stop.set()

    assert asked == [ONE]
    assert not led_together
    assert values == [b"new"]
    assert seen == TWO


async def _until_answered(store: Store, fence: Fence, key: str) -> None:
    """Write as a leader; a member that just woke up may not answer the first time."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                await fenced_txn(store, fence, [], [Put(key, b"late")])
            except (UnavailableError, AmbiguousError):
                continue
            return
