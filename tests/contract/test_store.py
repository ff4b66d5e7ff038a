"""The contract of shared.store, on the store in memory and on real etcd members."""

import asyncio
from contextlib import aclosing, suppress

import pytest

from shared.clock import SystemClock
from shared.errors import CompactedError, ConflictError, LeaseLostError
from shared.model import Revision
from shared.store import (
    Batch,
    Change,
    Compare,
    Compared,
    Delete,
    KeyRange,
    Put,
    Store,
    Unchanged,
    exactly,
    under,
)
from tests.contract.store_rig import WITHIN_S, Rig, keys_of, put_surely
from tests.waiting import until

ABSENT = Revision(0)


async def watched(store: Store, keys: KeyRange, after: Revision, changes: int) -> list[Change]:
    """Return so many changes after a revision."""
    found: list[Change] = []
    async with asyncio.timeout(WITHIN_S), aclosing(store.watch(keys, after=after)) as batches:
        async for batch in batches:
            found += batch.changes
            if len(found) >= changes:
                break
    return found


async def until_gone(store: Store, key: str) -> None:
    """Return when a key is not there any more."""
    snapshot = await store.list(exactly(key))
    async with (
        asyncio.timeout(WITHIN_S),
        aclosing(store.watch(exactly(key), after=snapshot.revision)) as batches,
    ):
        while snapshot.items:
            await anext(batches)
            snapshot = await store.list(exactly(key))


async def test_a_list_holds_the_range_sorted_at_one_revision(rig: Rig) -> None:
    async with rig.client() as store:
        a, b = rig.prefix + "a", rig.prefix + "b"
        first = await store.txn([], [Put(b, b"1")])
        second = await store.txn([], [Put(a, b"2"), Put(b, b"3")])
        beside = await store.txn([], [Put(rig.prefix[:-1] + "0", b"")])
        snapshot = await store.list(under(rig.prefix))
        alone = await store.list(exactly(a))

    assert [item.key for item in snapshot.items] == [a, b]
    assert [item.value for item in snapshot.items] == [b"2", b"3"]
    assert [item.create_revision for item in snapshot.items] == [second, first]
    assert [item.mod_revision for item in snapshot.items] == [second, second]
    assert snapshot.revision >= beside
    assert alone.items == snapshot.items[:1]


async def test_a_list_is_whole_however_long_it_is(rig: Rig) -> None:
    names = [f"{rig.prefix}{number:04}" for number in range(600)]
    async with rig.client() as store:
        for start in range(0, len(names), 100):
            await store.txn([], [Put(name, b"") for name in names[start : start + 100]])
        snapshot = await store.list(under(rig.prefix))

    assert [item.key for item in snapshot.items] == names


async def test_a_key_is_created_once(rig: Rig) -> None:
    key = rig.prefix + "key"
    async with rig.client() as store:
        created = await store.txn([Compare(key, ABSENT)], [Put(key, b"mine")])
        with pytest.raises(ConflictError) as caught:
            await store.txn([Compare(key, ABSENT)], [Put(key, b"yours")])
        snapshot = await store.list(exactly(key))

    assert (caught.value.key, caught.value.expected, caught.value.found) == (key, 0, created)
    assert snapshot.items[0].value == b"mine"


async def test_a_conflict_names_the_first_key_that_moved_and_nothing_is_written(rig: Rig) -> None:
    one, two, three = (rig.prefix + name for name in ("1", "2", "3"))
    async with rig.client() as store:
        start = await store.txn([], [Put(one, b""), Put(two, b""), Put(three, b"")])
        moved = await store.txn([], [Put(two, b"moved"), Put(three, b"moved")])
        conditions = [Compare(one, start), Compare(two, start), Compare(three, start)]
        with pytest.raises(ConflictError) as caught:
            await store.txn(conditions, [Put(one, b"never"), Delete(two)])
        snapshot = await store.list(under(rig.prefix))

    assert (caught.value.key, caught.value.expected, caught.value.found) == (two, start, moved)
    assert [item.value for item in snapshot.items] == [b"", b"moved", b"moved"]


async def test_the_creation_of_a_key_can_be_compared_while_its_value_changes(rig: Rig) -> None:
    key = rig.prefix + "key"
    async with rig.client() as store:
        created = await store.txn([], [Put(key, b"1")])
        changed = await store.txn([], [Put(key, b"2")])
        await store.txn([Compare(key, created, Compared.CREATED)], [Put(key, b"3")])
        await store.txn([], [Delete(key)])
        again = await store.txn([], [Put(key, b"4")])
        await store.txn([], [Put(key, b"5")])
        with pytest.raises(ConflictError) as caught:
            await store.txn([Compare(key, created, Compared.CREATED)], [Put(key, b"6")])

    assert changed > created
    assert caught.value.found == again


async def test_unchanged_holds_until_a_key_below_the_prefix_is_written(rig: Rig) -> None:
    inside, beside = rig.prefix + "in/x", rig.prefix + "on"
    async with rig.client() as store:
        revision = await store.txn([], [Put(inside, b"")])
        unchanged = Unchanged(rig.prefix + "in/", revision)
        await store.txn([unchanged, Unchanged(rig.prefix + "empty/", revision)], [Put(beside, b"")])
        moved = await store.txn([], [Put(rig.prefix + "in/y", b"")])
        with pytest.raises(ConflictError) as caught:
            await store.txn([unchanged], [Put(beside, b"never")])

    assert (caught.value.key, caught.value.found) == (rig.prefix + "in/y", moved)
    assert caught.value.expected == revision


async def test_deleting_what_is_absent_changes_nothing(rig: Rig) -> None:
    key = rig.prefix + "key"
    async with rig.client() as store:
        put = await store.txn([], [Put(key, b"")])
        deleted = await store.txn([], [Delete(key)])
        again = await store.txn([], [Delete(key)])

    assert deleted == put + 1
    assert again == deleted


async def test_a_watch_repeats_history_and_goes_on_in_order_with_none_twice(rig: Rig) -> None:
    names = [f"{rig.prefix}{number}" for number in range(6)]
    async with rig.client() as store, rig.client() as other:
        revisions = [await store.txn([], [Put(name, b"")]) for name in names[:3]]
        await store.txn([], [Delete(names[0])])
        async with asyncio.TaskGroup() as group:
            seen = group.create_task(watched(store, under(rig.prefix), revisions[0], 6))
            for name in names[3:]:
                await other.txn([], [Put(name, b"")])

    expected = [names[1], names[2], names[0], *names[3:]]
    assert [change.key for change in seen.result()] == expected
    assert seen.result()[2].now is None
    assert seen.result()[0].now is not None


async def test_a_watch_of_a_prefix_sees_no_others(rig: Rig) -> None:
    inside = [f"{rig.prefix}in/{number}" for number in range(3)]
    async with rig.client() as store:
        start = (await store.list(under(rig.prefix))).revision
        for name in inside:
            await store.txn([], [Put(rig.prefix + "in", b""), Put(name, b"")])
            await store.txn([], [Put(rig.prefix + "in0", b"")])
        by_prefix = await watched(store, under(rig.prefix + "in/"), start, 3)
        by_key = await watched(store, exactly(rig.prefix + "in"), start, 3)

    assert [change.key for change in by_prefix] == inside
    assert [change.key for change in by_key] == [rig.prefix + "in"] * 3


async def test_a_batch_never_holds_a_part_of_a_revision(rig: Rig) -> None:
    """Three transactions of 1.2 MiB: more than etcd sends in one piece."""
    names = [f"{rig.prefix}{number}" for number in range(3)]
    value = b"x" * (400 * 1024)
    async with rig.client() as store:
        start = (await store.list(under(rig.prefix))).revision
        end = [await store.txn([], [Put(name, value) for name in names]) for _ in range(3)][-1]
        batches: list[Batch] = []
        async with (
            asyncio.timeout(WITHIN_S),
            aclosing(store.watch(under(rig.prefix), after=start)) as found,
        ):
            async for batch in found:
                batches.append(batch)
                if batch.revision >= end:
                    break

    assert [key for batch in batches for key in keys_of(batch)] == names * 3
    assert all(len(batch.changes) % 3 == 0 for batch in batches)
    for batch in batches:
        assert max(c.now.mod_revision for c in batch.changes if c.now) == batch.revision


async def test_a_slow_reader_of_a_watch_misses_nothing(rig: Rig) -> None:
    names = [f"{rig.prefix}{number:03}" for number in range(200)]
    async with rig.client() as store, rig.client() as other:
        start = await store.txn([], [Put(rig.prefix + "start", b"")])
        async with aclosing(store.watch(under(rig.prefix), after=start)) as batches:
            await other.txn([], [Put(names[0], b"")])
            seen = keys_of(await anext(batches))
            for name in names[1:]:
                await other.txn([], [Put(name, b"")])
            async with asyncio.timeout(WITHIN_S):
                while len(seen) < len(names):
                    seen += keys_of(await anext(batches))

    assert seen == names


async def test_a_watch_of_compacted_history_says_so(rig: Rig) -> None:
    key = rig.prefix + "key"
    async with rig.client() as store:
        revisions = [await store.txn([], [Put(key, b"")]) for _ in range(5)]
        rig.compact(revisions[3])
        with pytest.raises(CompactedError) as caught:
            await watched(store, exactly(key), revisions[0], 1)
        later = await watched(store, exactly(key), revisions[3], 1)

    assert caught.value.revision == revisions[3]
    assert [change.key for change in later] == [key]


async def test_what_hangs_on_a_lease_ends_with_it_unless_it_is_kept(rig: Rig) -> None:
    """The lease that nobody keeps is the clock for the one that is kept."""
    kept, left = rig.prefix + "kept", rig.prefix + "left"
    async with rig.client() as store:
        async with store.lease(rig.ttl_s) as lease:
            await store.txn([], [Put(kept, b"", lease.id)])
            left_id = await store.grant_for(lease.ttl_s)
            await store.txn([], [Put(left, b"", left_id)])
            await until_gone(store, left)
            snapshot = await store.list(under(rig.prefix))
            assert not lease.lost.is_set()
        after = await store.list(under(rig.prefix))

    assert lease.ttl_s >= rig.ttl_s
    assert [(item.key, item.lease) for item in snapshot.items] == [(kept, lease.id)]
    assert after.items == ()


async def test_a_lease_is_revoked_however_it_is_left(rig: Rig) -> None:
    async def hold(store: Store, held: asyncio.Event) -> None:
        async with store.lease(60.0) as lease:
            await store.txn([], [Put(rig.prefix + "cancelled", b"", lease.id)])
            held.set()
            await asyncio.Event().wait()

    held = asyncio.Event()
    async with rig.client() as store:
        with suppress(LookupError):
            async with store.lease(60.0) as lease:
                await store.txn([], [Put(rig.prefix + "raised", b"", lease.id)])
                raise LookupError
        async with asyncio.TaskGroup() as group:
            task = group.create_task(hold(store, held))
            await held.wait()
            task.cancel()
        snapshot = await store.list(under(rig.prefix))

    assert snapshot.items == ()


async def test_a_lease_that_was_ended_by_someone_else_is_lost(rig: Rig) -> None:
    async with rig.client() as store, store.lease(60.0) as lease:
        rig.revoke(lease.id)
        await until(lease.lost.is_set, WITHIN_S)
        with pytest.raises(LeaseLostError):
            await store.txn([], [Put(rig.prefix + "key", b"", lease.id)])


async def test_a_lease_that_is_not_revoked_ends_by_itself_after_its_whole_time(rig: Rig) -> None:
    key = rig.prefix + "key"
    async with rig.client() as store:
        async with store.lease(rig.ttl_s, revoke=False) as lease:
            await store.txn([], [Put(key, b"", lease.id)])
        after = await store.list(under(rig.prefix))
        await until_gone(store, key)
        ended_s = SystemClock().boot_s()

    assert [item.key for item in after.items] == [key]
    assert ended_s >= lease.ends_s


async def test_a_renewal_moves_the_end_of_a_lease_on_and_says_so(rig: Rig) -> None:
    ends: list[float] = []
    async with rig.client() as store, store.lease(rig.ttl_s) as lease:
        first = lease.ends_s
        lease.on_renewed(lambda: ends.append(lease.ends_s))
        await until(lambda: len(ends) > 1, WITHIN_S)

    # Counted from the sending: never later than the whole time from now.
    assert first < ends[0] < ends[1] <= SystemClock().boot_s() + lease.ttl_s


async def test_anybody_can_end_a_lease_and_an_ended_one_again(rig: Rig) -> None:
    async with rig.client() as store, rig.client() as other, store.lease(5.0) as lease:
        await store.txn([], [Put(rig.prefix + "key", b"", lease.id)])
        await other.revoke(lease.id)
        await other.revoke(lease.id)
        assert (await store.list(under(rig.prefix))).items == ()
        await until(lease.lost.is_set, WITHIN_S)


async def test_a_client_that_is_cut_off_knows_that_its_lease_is_lost_before_it_ends(
    rig: Rig,
) -> None:
    key = rig.prefix + "key"
    async with (
        rig.client() as store,
        rig.lonely_client() as lonely,
        lonely.lease(rig.ttl_s) as lease,
    ):
        await lonely.txn([], [Put(key, b"", lease.id)])
        rig.cut()
        await until_gone(store, key)
        is_lost_first = lease.lost.is_set()
        rig.heal()

    assert is_lost_first


async def test_a_client_that_was_cut_off_for_a_moment_misses_nothing(rig: Rig) -> None:
    names = [f"{rig.prefix}{number}" for number in range(4)]
    async with rig.client() as store, rig.lonely_client() as lonely:
        start = await store.txn([], [Put(rig.prefix + "start", b"")])
        async with (
            asyncio.timeout(WITHIN_S),
            aclosing(lonely.watch(under(rig.prefix), after=start)) as batches,
        ):
            await put_surely(store, names[0])
            seen = keys_of(await anext(batches))
            rig.cut()
            for name in names[1:]:
                await put_surely(store, name)
            rig.heal()
            while len(seen) < len(names):
                seen += keys_of(await anext(batches))

    assert seen == names
