"""Writes of stacks that lose a race, or whose outcome nobody knows."""

import random
from collections.abc import Awaitable, Callable, Sequence

import pytest

from scheduler.api.stacks import Stacks, Standing
from shared import codec, keys
from shared.api import StackUpload
from shared.clock import SystemClock
from shared.errors import AmbiguousError, ConflictError, SpecError, UnavailableError
from shared.model import PublishedPort, Revision, Stack, StackName
from shared.store import Condition, Op, Put, Snapshot, under
from tests.fakes.store import FakeEtcd, FakeStore
from tests.unit.scheduler.api.build import SHOP, spec, stack

Meddle = Callable[[Callable[[], Awaitable[Revision]]], Awaitable[Revision]]


class Meddled(FakeStore):
    """A store where the test decides what happens around the first write."""

    meddle: Meddle | None = None

    async def txn(self, conditions: Sequence[Condition], ops: Sequence[Op]) -> Revision:
        """Let the test have its way, once."""
        meddle, self.meddle = self.meddle, None
        write = super().txn
        if meddle is None:
            return await write(conditions, ops)
        return await meddle(lambda: write(conditions, ops))


class Bench:
    """Two clients of one store; `mine` is the one that is meddled with."""

    def __init__(self) -> None:
        clock = SystemClock()
        etcd = FakeEtcd(clock)
        self.store, self.rival = Meddled(etcd, "mine"), FakeStore(etcd, "rival")
        rng = random.Random(1)  # noqa: S311 - jitter
        self.mine = Stacks(self.store, clock, rng, lambda _: Standing())
        self.others = Stacks(self.rival, clock, rng, lambda _: Standing())

    async def stored(self) -> dict[str, Stack]:
        found: Snapshot = await self.rival.list(under(keys.STACKS))
        return {
            item.key.removeprefix(keys.STACKS): codec.decode(Stack, item.value, item.key)
            for item in found.items
        }


def upload(port: int, replicas: int = 1) -> StackUpload:
    ports = [PublishedPort(published=port, target=80)]
    return StackUpload(services=(spec(replicas=replicas, ports=ports),))


async def test_a_port_that_was_taken_since_it_was_checked_is_refused() -> None:
    bench = Bench()

    async def rival_first(write: Callable[[], Awaitable[Revision]]) -> Revision:
        await bench.others.deploy(StackName("blog"), upload(8080))
        return await write()

    bench.store.meddle = rival_first
    with pytest.raises(SpecError, match="port 8080 is taken by stack blog, service web"):
        await bench.mine.deploy(SHOP, upload(8080))

    assert set(await bench.stored()) == {"blog"}


async def test_a_deploy_that_lost_to_one_of_the_same_stack_counts_on_from_it() -> None:
    bench = Bench()

    async def rival_first(write: Callable[[], Awaitable[Revision]]) -> Revision:
        await bench.others.deploy(SHOP, upload(8080, replicas=2))
        return await write()

    bench.store.meddle = rival_first
    accepted = await bench.mine.deploy(SHOP, upload(8080, replicas=3))

    assert accepted.generation == 2
    assert (await bench.stored())["shop"].services[0].replicas == 3


async def test_a_write_that_happened_although_nobody_said_so_is_not_done_twice() -> None:
    bench = Bench()

    async def done_but_unanswered(write: Callable[[], Awaitable[Revision]]) -> Revision:
        await write()
        raise AmbiguousError("no answer")

    bench.store.meddle = done_but_unanswered
    accepted = await bench.mine.deploy(SHOP, upload(8080))
    bench.store.meddle = done_but_unanswered
    removed = await bench.mine.remove(SHOP)

    assert (accepted.generation, removed.generation) == (1, 1)
    assert await bench.stored() == {}


async def test_a_write_that_did_not_happen_is_decided_again() -> None:
    bench = Bench()

    async def lost(_write: Callable[[], Awaitable[Revision]]) -> Revision:
        raise AmbiguousError("no answer")

    bench.store.meddle = lost
    accepted = await bench.mine.deploy(SHOP, upload(8080))
    assert set(await bench.stored()) == {"shop"}
    bench.store.meddle = lost
    await bench.mine.remove(SHOP)

    assert accepted.generation == 1
    assert await bench.stored() == {}


async def test_a_write_whose_outcome_cannot_be_read_back_is_left_in_doubt() -> None:
    bench = Bench()

    async def goes_away(write: Callable[[], Awaitable[Revision]]) -> Revision:
        await write()
        bench.store.cut()
        raise AmbiguousError("no answer")

    bench.store.meddle = goes_away
    with pytest.raises(AmbiguousError, match="whether the change of stack shop is stored"):
        await bench.mine.deploy(SHOP, upload(8080))


async def test_a_store_that_is_away_changes_nothing() -> None:
    bench = Bench()
    bench.store.cut()

    with pytest.raises(UnavailableError):
        await bench.mine.deploy(SHOP, upload(8080))

    assert await bench.stored() == {}


async def test_a_race_that_is_lost_every_time_is_given_up() -> None:
    bench = Bench()
    tries = 0

    async def always_late(write: Callable[[], Awaitable[Revision]]) -> Revision:
        nonlocal tries
        tries += 1
        bench.store.meddle = always_late
        other = stack(name=f"other-{tries}")
        await bench.rival.txn([], [Put(keys.stack(other.name), codec.encode(other))])
        return await write()

    bench.store.meddle = always_late
    with pytest.raises(ConflictError):
        await bench.mine.deploy(SHOP, upload(8080))

    assert (tries, "shop" in await bench.stored()) == (10, False)
