"""What the etcd client does when members die, freeze, or lead no more."""

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing

import pytest

from shared.errors import AmbiguousError, StoreError, UnavailableError
from shared.etcd.store import EtcdStore
from shared.model import Revision
from shared.settings import EtcdSettings
from shared.store import Compare, Put, exactly, under
from tests.contract.etcd_server import EtcdMember, free_ports
from tests.contract.store_rig import WITHIN_S, EtcdRig, keys_of, put_surely
from tests.waiting import until

pytestmark = pytest.mark.real

Hurt = Callable[[EtcdRig, EtcdMember], None]
both_ways_to_fail = pytest.mark.parametrize("hurt", [EtcdRig.kill, EtcdRig.freeze])


@both_ways_to_fail
async def test_a_watch_misses_nothing_when_its_member_fails(etcd_rig: EtcdRig, hurt: Hurt) -> None:
    names = [f"{etcd_rig.prefix}{number}" for number in range(20)]
    async with etcd_rig.client() as store:
        start = await store.txn([], [Put(etcd_rig.prefix + "start", b"")])
        victim = etcd_rig.named(store.endpoint)
        async with (
            etcd_rig.client(*etcd_rig.others(victim)) as other,
            asyncio.timeout(WITHIN_S),
            aclosing(store.watch(under(etcd_rig.prefix), after=start)) as batches,
        ):
            await put_surely(other, names[0])
            seen = keys_of(await anext(batches))
            hurt(etcd_rig, victim)
            for name in names[1:]:
                await put_surely(other, name)
            while len(seen) < len(names):
                seen += keys_of(await anext(batches))

    assert seen == names


@both_ways_to_fail
async def test_a_lease_is_kept_when_its_member_fails(etcd_rig: EtcdRig, hurt: Hurt) -> None:
    """A lease that nobody keeps tells when a whole TTL has gone by since."""
    kept, left = etcd_rig.prefix + "kept", etcd_rig.prefix + "left"
    victim = await etcd_rig.follower()
    async with etcd_rig.client(*etcd_rig.others(victim)) as other, etcd_rig.client() as store:
        while store.endpoint != victim.endpoint:
            store._endpoints.leave(store._endpoints.current, "the test wants another")  # noqa: SLF001 - its order is random
        async with store.lease(2.0) as lease:
            await store.txn([], [Put(kept, b"", lease.id)])
            hurt(etcd_rig, victim)
            left_id = await other.grant_for(lease.ttl_s)
            written = await other.txn([], [Put(left, b"", left_id)])
            async with (
                asyncio.timeout(WITHIN_S),
                aclosing(other.watch(exactly(left), after=written)) as batches,
            ):
                async for batch in batches:
                    if any(change.now is None for change in batch.changes):
                        break
            assert not lease.lost.is_set()
            assert len((await other.list(exactly(kept))).items) == 1


async def test_a_write_on_a_frozen_member_is_ambiguous_and_never_sent_again(
    etcd_rig: EtcdRig,
) -> None:
    key = etcd_rig.prefix + "key"
    leader = await etcd_rig.leader()
    async with etcd_rig.client(leader) as store, etcd_rig.client() as other:
        await store.txn([], [Put(key, b"before")])
        etcd_rig.freeze(leader)
        with pytest.raises(AmbiguousError, match=leader.endpoint):
            await store.txn([], [Put(key, b"after")])
        leader.thaw()
        await put_surely(store, etcd_rig.prefix + "later")
        item = (await other.list(exactly(key))).items[0]
        async with aclosing(other.watch(exactly(key), after=item.create_revision)) as batches:
            changes = 0
            if item.mod_revision > item.create_revision:
                changes = len((await anext(batches)).changes)

    # Whether and when what it had in hand is written is etcd's; that it is once at most, is ours.
    assert changes == (1 if item.value == b"after" else 0)


async def test_a_read_goes_on_when_the_leader_freezes(etcd_rig: EtcdRig) -> None:
    key = etcd_rig.prefix + "key"
    leader = await etcd_rig.leader()
    async with etcd_rig.client() as store:
        await put_surely(store, key, b"value")
        etcd_rig.freeze(leader)
        async with asyncio.timeout(WITHIN_S):
            items = (await store.list(exactly(key))).items
        assert [item.value for item in items] == [b"value"]
        assert store.endpoint != leader.endpoint


async def test_a_write_that_was_never_sent_is_sent_to_another_member(etcd_rig: EtcdRig) -> None:
    key = etcd_rig.prefix + "key"
    dead = [f"127.0.0.1:{port}" for port in free_ports(2)]
    endpoints = (*dead, etcd_rig.cluster.endpoints[0])
    async with EtcdStore(EtcdSettings(endpoints=endpoints)) as store:
        await store.txn([Compare(key, Revision(0))], [Put(key, b"")])

        assert store.endpoint == endpoints[2]


async def test_a_cluster_without_a_majority_writes_nothing_and_says_so(etcd_rig: EtcdRig) -> None:
    key = etcd_rig.prefix + "key"
    survivor, *others = etcd_rig.cluster.members
    async with etcd_rig.client(survivor) as store:
        await store.txn([], [Put(key, b"")])
        for member in others:
            etcd_rig.kill(member)
        await until(lambda: _has_no_leader(etcd_rig, survivor), WITHIN_S)
        with pytest.raises(UnavailableError, match="no leader"):
            await store.txn([], [Put(key, b"never")])
        problems = [member.problem for member in await store.status()]

    assert len(problems) == 1
    assert "no leader" in problems[0]


async def test_status_tells_who_leads_and_who_does_not_answer(etcd_rig: EtcdRig) -> None:
    leader = await etcd_rig.leader()
    victim = etcd_rig.others(leader)[0]
    etcd_rig.kill(victim)
    async with etcd_rig.client() as store:
        members = {member.endpoint: member for member in await store.status()}

    assert members[leader.endpoint].is_leader
    assert members[leader.endpoint].db_size_bytes > 0
    assert members[leader.endpoint].version
    assert "refused" in members[victim.endpoint].problem
    assert [m.endpoint for m in members.values() if m.is_leader] == [leader.endpoint]


async def test_a_cluster_that_is_not_there_is_named_member_by_member_on_one_line() -> None:
    endpoints = tuple(f"127.0.0.1:{port}" for port in free_ports(2))
    async with EtcdStore(EtcdSettings(endpoints=endpoints)) as store:
        with pytest.raises(UnavailableError) as of_read:
            await store.list(under("/"))
        with pytest.raises(UnavailableError) as of_write:
            await store.txn([], [Put("/never", b"")])
        with pytest.raises(UnavailableError):
            await store.grant_for(1.0)

    for caught in (of_read, of_write):
        words = str(caught.value)
        assert all(endpoint in words for endpoint in endpoints)
        assert words.count("Connection refused") == 2
        assert "\n" not in words


async def test_what_can_never_be_written_is_refused(etcd_rig: EtcdRig) -> None:
    async with etcd_rig.client() as store:
        with pytest.raises(StoreError, match="too large"):
            await store.txn([], [Put(etcd_rig.prefix + "key", b"x" * 1_800_000)])


def _has_no_leader(rig: EtcdRig, member: EtcdMember) -> bool:
    told = json.loads(rig.cluster.ctl("endpoint", "status", "--write-out=json", member=member))
    return not told[0]["Status"].get("leader")
