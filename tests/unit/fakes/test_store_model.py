"""The store in memory against a model of an etcd that a child could check: a list of all states."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import Clock
from shared.errors import AmbiguousError, CompactedError, ConflictError, UnavailableError
from shared.model import Revision
from shared.store import (
    Compare,
    Compared,
    Condition,
    Delete,
    KeyRange,
    KeyValue,
    Op,
    Put,
    Unchanged,
    exactly,
    under,
)
from tests.fakes.store import FakeEtcd, FakeStore, WriteFate
from tests.virtual import on_virtual_time

State = dict[str, KeyValue]
LATE_S = 0.5
KEYS = ["a", "a/1", "a/2", "a0", "b"]
ranges = st.sampled_from([*map(exactly, KEYS), *map(under, ["", "a", "a/", "b", "c"])])
ops = st.lists(
    st.one_of(
        st.builds(Put, st.sampled_from(KEYS), st.binary(max_size=1)),
        st.builds(Delete, st.sampled_from(KEYS)),
    ),
    max_size=3,
    unique_by=lambda op: op.key,
)


class Txn(NamedTuple):
    """A transaction whose conditions are right or wrong on purpose."""

    conditions: Sequence[tuple[str, Compared | None, int]]  # None: Unchanged; int: how far off
    ops: Sequence[Op]
    fate: WriteFate


txns = st.builds(
    Txn,
    st.lists(
        st.tuples(
            st.sampled_from(KEYS), st.sampled_from([*Compared, None]), st.sampled_from([0, 0, 1])
        ),
        max_size=2,
    ),
    ops,
    st.sampled_from([*[WriteFate.NORMAL] * 6, *WriteFate]),
)


class Model:
    """Every state there ever was; index 0 is revision 1."""

    def __init__(self) -> None:
        self.states: list[State] = [{}]

    @property
    def revision(self) -> Revision:
        return Revision(len(self.states))

    def holds(self, condition: Condition) -> bool:
        now = self.states[-1]
        if isinstance(condition, Unchanged):
            inside = [item for key, item in now.items() if key.startswith(condition.prefix)]
            return all(item.mod_revision <= condition.revision for item in inside)
        item = now.get(condition.key)
        if condition.what is Compared.CREATED:
            return condition.revision == (item.create_revision if item else 0)
        return condition.revision == (item.mod_revision if item else 0)

    def write(self, ops: Sequence[Op]) -> None:
        before = self.states[-1]
        after, number = dict(before), Revision(self.revision + 1)
        for op in ops:
            old = after.pop(op.key, None)
            if isinstance(op, Put):
                created = old.create_revision if old else number
                after[op.key] = KeyValue(op.key, op.value, created, number)
        if after != before:
            self.states.append(after)

    def at(self, keys: KeyRange, revision: int) -> State:
        return {key: item for key, item in self.states[revision - 1].items() if key in keys}


def conditions_of(txn: Txn, model: Model) -> list[Condition]:
    made: list[Condition] = []
    for key, what, off in txn.conditions:
        if what is None:
            made.append(Unchanged(key, Revision(model.revision - off)))
            continue
        item = model.states[-1].get(key)
        right = getattr(item, what.value) if item else 0
        made.append(Compare(key, Revision(right + off), what))
    return made


async def write_both(store: FakeStore, model: Model, txn: Txn) -> None:
    conditions = conditions_of(txn, model)
    expected = all(model.holds(condition) for condition in conditions)
    store.write_fate, store.late_s = lambda: txn.fate, lambda: LATE_S
    if expected and txn.fate in {WriteFate.NORMAL, WriteFate.ANSWER_LOST, WriteFate.LATE}:
        model.write(txn.ops)
    if txn.fate is not WriteFate.NORMAL:
        with pytest.raises((AmbiguousError, UnavailableError)):
            await store.txn(conditions, txn.ops)
        await store.server.clock.sleep(LATE_S)  # what is late arrives
    elif expected:
        assert await store.txn(conditions, txn.ops) == model.revision
    else:
        first = next(each for each in conditions if not model.holds(each))
        with pytest.raises(ConflictError) as caught:
            await store.txn(conditions, txn.ops)
        key = first.prefix if isinstance(first, Unchanged) else first.key
        assert caught.value.key.startswith(key)


async def follow(
    store: FakeStore, model: Model, keys: KeyRange, start: Revision, rebuilt: State
) -> None:
    """Keep `rebuilt` up to date; after each batch it is the model's state at its revision."""
    async with aclosing(store.watch(keys, after=start)) as batches:
        async for batch in batches:
            for change in batch.changes:
                rebuilt.pop(change.key, None)
                if change.now is not None:
                    rebuilt[change.key] = change.now
            assert rebuilt == model.at(keys, batch.revision)


@given(st.lists(txns, max_size=12), ranges)
def test_it_lists_what_the_model_lists(script: list[Txn], keys: KeyRange) -> None:
    async def main(clock: Clock) -> None:
        store, model = FakeStore(FakeEtcd(clock), "client"), Model()
        for txn in script:
            await write_both(store, model, txn)
            snapshot = await store.list(keys)
            there = model.at(keys, model.revision)
            assert snapshot.revision == model.revision
            assert list(snapshot.items) == [there[key] for key in sorted(there)]

    on_virtual_time(main)


@given(st.lists(txns, max_size=12), ranges, st.data())
def test_a_watch_from_anywhere_rebuilds_every_state_though_streams_drop(
    script: list[Txn], keys: KeyRange, data: st.DataObject
) -> None:
    async def main(clock: Clock) -> None:
        store, model = FakeStore(FakeEtcd(clock), "client"), Model()
        before = data.draw(st.integers(0, len(script)), label="written before the watch")
        for txn in script[:before]:
            await write_both(store, model, txn)
        start = Revision(data.draw(st.integers(1, model.revision), label="watched after"))
        rebuilt = model.at(keys, start)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(follow(store, model, keys, start, rebuilt))
            for txn in script[before:]:
                await write_both(store, model, txn)
                if data.draw(st.booleans(), label="drop"):
                    store.drop_watches()
            await clock.sleep(1.0)
            assert rebuilt == model.at(keys, model.revision)
            task.cancel()

    on_virtual_time(main)


@given(st.integers(2, 8), st.integers(1, 7))
def test_history_is_there_from_the_compacted_revision_on(compacted: int, after: int) -> None:
    async def main(clock: Clock) -> list[int]:
        etcd = FakeEtcd(clock)
        store = FakeStore(etcd, "client")
        for number in range(7):
            await store.txn([], [Put("a", bytes([number]))])
        etcd.compact(compacted)
        async with asyncio.timeout(60.0):
            return await revisions_after(store, after)

    if after + 1 < compacted:
        with pytest.raises(CompactedError) as caught:
            on_virtual_time(main)
        assert caught.value.revision == compacted
    else:
        assert on_virtual_time(main) == list(range(after + 1, 9))


async def revisions_after(store: FakeStore, after: int) -> list[int]:
    """Return the revisions up to the eighth that a watch delivers."""
    found: list[int] = []
    async with aclosing(store.watch(exactly("a"), after=Revision(after))) as batches:
        while not found or found[-1] < 8:
            changes = (await anext(batches)).changes
            found += [change.now.mod_revision for change in changes if change.now]
    return found
