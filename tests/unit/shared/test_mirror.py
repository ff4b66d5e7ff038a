"""A view equals what it mirrors, whatever becomes of the watch."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from shared import keys
from shared.clock import Clock
from shared.errors import UnavailableError
from shared.mirror import mirror
from shared.model import Revision
from shared.store import Batch, Change, Delete, KeyRange, KeyValue, Put, Snapshot, exactly, under
from shared.view import View
from tests.fakes.store import FakeEtcd, FakeStore
from tests.virtual import on_virtual_time
from tests.waiting import until

HOUR_S = 3600.0
KEYS = (keys.LEADER, keys.VIPS + "a", keys.STACKS + "a", keys.STACKS + "b", keys.SUSPECTS + "n/m")


class Bench:
    """A store, someone who writes, and a view of everything under /in/."""

    def __init__(self, clock: Clock) -> None:
        self.etcd = FakeEtcd(clock)
        self.mirrored, self.writer = FakeStore(self.etcd, "mirror"), FakeStore(self.etcd, "writer")
        self.changes = 0
        self.view = View(self._changed)

    def _changed(self) -> None:
        self.changes += 1

    async def put(self, *names: str) -> Revision:
        return await self.writer.txn([], [Put(name, name.encode()) for name in names])

    async def until_equal(self) -> None:
        await until(self.is_equal, HOUR_S)

    def is_equal(self) -> bool:
        there = {item.key: item for item in self.etcd.list(under("/in/")).items}
        return dict(self.view.items) == there


def mirrored(main: Callable[[Bench], Coroutine[Any, Any, None]]) -> Bench:
    """Run `main` beside a mirror."""

    async def both(clock: Clock) -> Bench:
        bench = Bench(clock)
        rng = random.Random(1)  # noqa: S311 - jitter
        async with asyncio.TaskGroup() as group:
            task = group.create_task(mirror(bench.mirrored, under("/in/"), bench.view, clock, rng))
            await main(bench)
            task.cancel()
        return bench

    return on_virtual_time(both)


def test_it_begins_with_what_is_there_and_follows_every_change() -> None:
    async def main(bench: Bench) -> None:
        await bench.put("/in/a", "/in/b")
        await bench.until_equal()
        await bench.put("/in/c", "/out/d")
        await bench.until_equal()
        await bench.writer.txn([], [Delete("/in/a")])
        await bench.until_equal()

    bench = mirrored(main)
    assert sorted(bench.view.items) == ["/in/b", "/in/c"]


def test_it_goes_on_after_a_dropped_stream() -> None:
    async def main(bench: Bench) -> None:
        await bench.put("/in/a")
        await bench.until_equal()
        bench.mirrored.cut()
        await bench.put("/in/b")
        await bench.writer.txn([], [Delete("/in/a")])
        bench.mirrored.heal()
        await bench.until_equal()

    assert sorted(mirrored(main).view.items) == ["/in/b"]


def test_it_lists_again_when_history_was_compacted_and_drops_what_is_gone() -> None:
    async def main(bench: Bench) -> None:
        await bench.put("/in/a")
        await bench.until_equal()
        bench.mirrored.cut()
        await bench.writer.txn([], [Delete("/in/a")])
        bench.etcd.compact(await bench.put("/in/b"))
        bench.mirrored.heal()
        await bench.until_equal()

    assert sorted(mirrored(main).view.items) == ["/in/b"]


def test_it_waits_for_a_store_that_is_away_at_the_start() -> None:
    async def main(bench: Bench) -> None:
        bench.mirrored.cut()
        await bench.put("/in/a")
        await bench.etcd.clock.sleep(60.0)
        assert bench.view.revision == 0
        bench.mirrored.heal()
        await bench.until_equal()

    assert mirrored(main).view.revision


def test_an_answer_that_was_lost_is_asked_for_again() -> None:
    class Once(FakeStore):
        failures = 3

        async def list(self, keys: KeyRange) -> Snapshot:
            if self.failures:
                self.failures -= 1
                raise UnavailableError("away")
            return await super().list(keys)

    async def main(clock: Clock) -> bool:
        bench = Bench(clock)
        await bench.put("/in/a")
        rng = random.Random(1)  # noqa: S311 - jitter
        async with asyncio.TaskGroup() as group:
            store = Once(bench.etcd, "once")
            task = group.create_task(mirror(store, exactly("/in/a"), bench.view, clock, rng))
            await bench.until_equal()
            task.cancel()
        return "/in/a" in bench.view.items

    assert on_virtual_time(main)


def test_a_view_tells_of_changes_and_not_of_quiet() -> None:
    told: list[int] = []
    view = View(lambda: told.append(1))
    item = KeyValue("/k", b"", Revision(2), Revision(2))

    view.replace(Snapshot((item,), Revision(3)))
    view.apply(Batch((), Revision(9)))
    view.apply(Batch((Change("/k", None),), Revision(10)))

    assert len(told) == 2
    assert view.revision == 10
    assert view.items == {}


@given(st.lists(st.lists(st.tuples(st.sampled_from(KEYS), st.booleans()), max_size=6), max_size=6))
def test_its_ranges_hold_what_it_holds_and_their_stamps_tell_of_changes(
    batches: list[list[tuple[str, bool]]],
) -> None:
    view = View(lambda: None)
    names = sorted({keys.range_of(key) for key in KEYS})
    for number, changes in enumerate(batches, start=1):
        revision = Revision(number)
        items = {key: KeyValue(key, b"", revision, revision) for key, _ in changes}
        before = [(view.stamp(name), dict(view.range(name))) for name in names]
        if number % 3 == 0:
            view.replace(Snapshot(tuple(items.values()), revision))
        else:
            found = [Change(key, items[key] if is_put else None) for key, is_put in changes]
            view.apply(Batch(tuple(found), revision))
        for name, (stamp, content) in zip(names, before, strict=True):
            within = {key: item for key, item in view.items.items() if keys.range_of(key) == name}
            assert view.range(name) == within
            assert within == content or view.stamp(name) != stamp
