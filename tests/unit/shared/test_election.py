"""Elections on virtual time: answers that get lost, and a crowd of candidates."""

import asyncio
from collections.abc import Iterator

from shared import keys
from shared.clock import Clock
from shared.election import campaign, fenced_txn
from shared.errors import FencedError
from shared.model import Leader, NodeName
from shared.store import Put, exactly
from tests.fakes.store import FakeEtcd, FakeStore, WriteFate
from tests.virtual import on_virtual_time

ME = Leader(node=NodeName("me"))
TTL_S = 2.0


def fates(*first: WriteFate) -> Iterator[WriteFate]:
    """Yield these, then normal ones."""
    yield from first
    while True:
        yield WriteFate.NORMAL


def test_a_leader_that_was_not_told_of_its_election_finds_out() -> None:
    async def main(clock: Clock) -> tuple[int, int]:
        store = FakeStore(FakeEtcd(clock), "me")
        coming = fates(WriteFate.ANSWER_LOST)
        store.write_fate = lambda: next(coming)
        async with campaign(store, ME, ttl_s=TTL_S) as (fence, lease):
            (item,) = (await store.list(exactly(keys.LEADER))).items
            await fenced_txn(store, fence, [], [Put("/k", b"")])
            assert item.lease == lease.id
            return fence.token, item.create_revision

    token, created = on_virtual_time(main)
    assert token == created


def test_a_vote_that_got_lost_is_cast_again() -> None:
    async def main(clock: Clock) -> bool:
        store = FakeStore(FakeEtcd(clock), "me")
        coming = fates(WriteFate.REQUEST_LOST, WriteFate.REQUEST_LOST)
        store.write_fate = lambda: next(coming)
        async with campaign(store, ME, ttl_s=TTL_S) as (fence, _):
            await fenced_txn(store, fence, [], [Put("/k", b"")])
            return True

    assert on_virtual_time(main)


def test_of_a_crowd_each_leads_once_alone_and_with_a_higher_fence() -> None:
    terms: list[tuple[int, str]] = []

    async def stand(store: FakeStore) -> None:
        me = Leader(node=NodeName(store.name))
        async with campaign(store, me, ttl_s=TTL_S) as (fence, lease):
            terms.append((fence.token, "begins"))
            await store.server.clock.sleep(3 * TTL_S)
            assert not lease.lost.is_set()
            await fenced_txn(store, fence, [], [Put("/k", b"")])
            terms.append((fence.token, "ends"))

    async def main(clock: Clock) -> None:
        etcd = FakeEtcd(clock)
        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(stand(FakeStore(etcd, f"node-{number}")))

    on_virtual_time(main)
    tokens = [token for token, _ in terms]
    assert tokens == sorted(tokens)
    assert len(set(tokens)) == 5
    assert [what for _, what in terms] == ["begins", "ends"] * 5


def test_a_leader_that_is_cut_off_knows_before_anybody_else_can_lead() -> None:
    async def main(clock: Clock) -> tuple[float, float, bool]:
        etcd = FakeEtcd(clock)
        old, new = FakeStore(etcd, "old"), FakeStore(etcd, "new")
        async with campaign(old, ME, ttl_s=TTL_S) as (fence, lease), asyncio.TaskGroup() as group:
            told = group.create_task(_when_set(lease.lost, clock))
            await clock.sleep(1.0)
            old.cut()
            async with campaign(new, ME, ttl_s=TTL_S):
                elected_s = clock.monotonic_s()
                old.heal()
                is_refused = False
                try:
                    await fenced_txn(old, fence, [], [Put("/k", b"late")])
                except FencedError:
                    is_refused = True
        return told.result(), elected_s, is_refused

    told_s, elected_s, is_refused = on_virtual_time(main)
    assert told_s < elected_s
    assert is_refused


async def _when_set(event: asyncio.Event, clock: Clock) -> float:
    await event.wait()
    return clock.monotonic_s()


def test_a_leader_that_is_held_for_gone_is_not_waited_for() -> None:
    async def gone(_leader: Leader) -> None:
        return

    async def main(clock: Clock) -> tuple[float, bool]:
        etcd = FakeEtcd(clock)
        old, new = FakeStore(etcd, "old"), FakeStore(etcd, "new")
        async with campaign(old, ME, ttl_s=TTL_S) as (fence, _):
            old.cut()
            began_s = clock.monotonic_s()
            async with campaign(new, ME, ttl_s=TTL_S, until_gone=gone):
                took_s = clock.monotonic_s() - began_s
                old.heal()
                is_refused = False
                try:
                    await fenced_txn(old, fence, [], [Put("/k", b"late")])
                except FencedError:
                    is_refused = True
        return took_s, is_refused

    took_s, is_refused = on_virtual_time(main)
    assert took_s < TTL_S / 2
    assert is_refused
