"""What passes between a client and the store in memory when the way or the store itself is hurt."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from contextvars import copy_context

import pytest

from shared.clock import Clock
from shared.errors import AmbiguousError, UnavailableError
from shared.model import Revision
from shared.store import Put, exactly
from tests.fakes.store import FakeEtcd, FakeLease, FakeStore, Way
from tests.sim.loop import PART, Part, VirtualClock, VirtualLoop
from tests.virtual import on_virtual_time

TTL_S = 2.0


def fakes(clock: Clock) -> tuple[FakeEtcd, FakeStore]:
    etcd = FakeEtcd(clock, expiry_lag_s=lambda: 0.0)
    return etcd, FakeStore(etcd, "client")


def is_there(etcd: FakeEtcd, key: str) -> bool:
    return bool(etcd.list(exactly(key)).items)


@asynccontextmanager
async def leased(store: FakeStore) -> AsyncGenerator[FakeLease, None]:
    """Hold a lease that "alive" hangs on."""
    async with store.lease(TTL_S, revoke=False) as lease:
        await store.txn([], [Put("alive", b"", lease.id)])
        yield lease


@pytest.mark.parametrize(
    ("way", "arrives", "error"),
    [
        (Way.CUT, False, UnavailableError),
        (Way.MUTE, False, AmbiguousError),
        (Way.DEAF, True, AmbiguousError),
    ],
)
def test_a_write_arrives_as_the_way_allows_and_its_sender_knows_no_better(
    way: Way, *, arrives: bool, error: type[Exception]
) -> None:
    async def main(clock: Clock) -> None:
        etcd, store = fakes(clock)
        store.impede(way)
        with pytest.raises(error):
            await store.txn([], [Put("a", b"")])
        assert is_there(etcd, "a") is arrives
        with pytest.raises(UnavailableError):
            await store.list(exactly("a"))

    on_virtual_time(main)


@pytest.mark.parametrize(("way", "lives"), [(Way.CUT, False), (Way.MUTE, False), (Way.DEAF, True)])
def test_a_lease_is_lost_to_its_owner_whether_or_not_the_store_hears_of_it(
    way: Way, *, lives: bool
) -> None:
    async def main(clock: Clock) -> None:
        etcd, store = fakes(clock)
        async with leased(store) as lease:
            await clock.sleep(3 * TTL_S)
            assert not lease.lost.is_set()
            ends_s = lease.ends_s
            store.impede(way)
            await clock.sleep(TTL_S)
            assert lease.lost.is_set()
            assert lease.ends_s == ends_s <= clock.boot_s()
            assert is_there(etcd, "alive") is lives

    on_virtual_time(main)


def test_a_lease_counts_from_the_sending_of_what_was_acknowledged() -> None:
    async def main(clock: Clock) -> None:
        _, store = fakes(clock)
        async with leased(store) as lease:
            renewed: list[tuple[float, float]] = []
            lease.on_renewed(lambda: renewed.append((clock.boot_s(), lease.ends_s)))
            store.latency_s = lambda: 0.1
            await clock.sleep(3 * TTL_S)
            assert renewed
            for at_s, ends_s in renewed:
                assert ends_s == pytest.approx(at_s - 0.2 + TTL_S)

    on_virtual_time(main)


@pytest.mark.parametrize("rate", [0.99, 1.01])
def test_a_lease_is_counted_by_the_clock_of_its_owner(rate: float) -> None:
    async def main(true: Clock) -> None:
        etcd = FakeEtcd(true)
        clock = VirtualClock(VirtualLoop.here(), rate=rate, offset_s=5.0)
        async with FakeStore(etcd, "client", clock).lease(TTL_S) as lease:
            assert lease.ends_s == 5.0 + TTL_S
            etcd.lose_leader()
            await lease.lost.wait()
            assert true.monotonic_s() == pytest.approx(TTL_S / rate)

    on_virtual_time(main)


def test_without_a_leader_nothing_ends_and_the_next_one_gives_every_lease_its_whole_time() -> None:
    async def main(clock: Clock) -> None:
        etcd, store = fakes(clock)
        lease = await store.grant_for(TTL_S)
        await store.txn([], [Put("alive", b"", lease)])
        etcd.lose_leader()
        with pytest.raises(AmbiguousError):
            await store.txn([], [Put("a", b"")])
        with pytest.raises(UnavailableError):
            await store.list(exactly("a"))
        await clock.sleep(5 * TTL_S)
        etcd.elect()
        await clock.sleep(TTL_S - 0.01)
        assert is_there(etcd, "alive")
        assert not is_there(etcd, "a")
        await clock.sleep(0.02)
        assert not is_there(etcd, "alive")

    on_virtual_time(main)


def test_a_write_under_way_while_the_leader_changes_is_ambiguous() -> None:
    async def main(clock: Clock) -> None:
        etcd, store = fakes(clock)
        store.latency_s = lambda: 0.1
        loop = asyncio.get_running_loop()
        loop.call_later(0.15, etcd.lose_leader)
        loop.call_later(0.16, etcd.elect)
        with pytest.raises(AmbiguousError):
            await store.txn([], [Put("a", b"")])
        assert is_there(etcd, "a")

    on_virtual_time(main)


@pytest.mark.parametrize("way", [Way.CUT, Way.DEAF])
def test_a_watch_that_heard_nothing_hears_all_of_it_later(way: Way) -> None:
    async def main(clock: Clock) -> None:
        etcd, store = fakes(clock)
        heard: list[Revision] = []

        async def listen() -> None:
            async with aclosing(store.watch(exactly("a"), after=Revision(1))) as batches:
                async for batch in batches:
                    heard.extend(c.now.mod_revision for c in batch.changes if c.now)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(listen())
            await clock.sleep(1)
            store.impede(way)
            store.drop_watches()
            etcd.txn([], [Put("a", b"1")])
            etcd.txn([], [Put("a", b"2")])
            await clock.sleep(1)
            assert heard == []
            store.heal()
            await clock.sleep(1)
            assert heard == [2, 3]
            task.cancel()

    on_virtual_time(main)


def test_anybody_can_revoke_a_lease_and_its_owner_learns_of_it() -> None:
    async def main(clock: Clock) -> None:
        etcd, store = fakes(clock)
        async with leased(store) as lease:
            await FakeStore(etcd, "another").revoke(lease.id)
            assert not is_there(etcd, "alive")
            async with asyncio.timeout(TTL_S / 2):
                await lease.lost.wait()
            await FakeStore(etcd, "another").revoke(lease.id)

    on_virtual_time(main)


def test_the_stores_clocks_go_on_while_its_client_is_frozen() -> None:
    async def hold(store: FakeStore) -> None:
        async with leased(store):
            await asyncio.Event().wait()

    async def main(clock: Clock) -> None:
        part, context = Part(VirtualLoop.here()), copy_context()
        context.run(PART.set, part)
        etcd, store = fakes(clock)
        async with asyncio.TaskGroup() as group:
            group.create_task(hold(store), context=context)
            await clock.sleep(1)
            assert is_there(etcd, "alive")
            part.freeze()
            await clock.sleep(2 * TTL_S)
            assert not is_there(etcd, "alive")
            part.kill()

    on_virtual_time(main)
