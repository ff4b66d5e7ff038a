"""Plans become transactions: fenced, conditional, and no document can stop the others."""

import pytest

from scheduler.commit import commit
from scheduler.plan import Write
from shared import keys
from shared.clock import Clock
from shared.election import Fence
from shared.errors import ConflictError, FencedError
from shared.model import DOCUMENT_BYTES_MAX, Leader, Manifest, NodeName, Revision
from shared.store import Compare, Put, exactly, under
from tests.build import assignment, workload
from tests.fakes.store import FakeEtcd, FakeStore
from tests.virtual import on_virtual_time


def manifest(number: int, image: str = "app:1") -> Write:
    name = NodeName(f"node-{number}")
    held = (assignment("shop.web.1.a", workload(image)),)
    return Write(
        key=keys.desired(name),
        record=Manifest(node=name, generation=1, assignments=held),
        decided_at=Revision(0),
    )


async def leading(clock: Clock) -> tuple[FakeStore, Fence]:
    store = FakeStore(FakeEtcd(clock), "leader")
    me = Leader(node=NodeName("node-1"))
    revision = await store.txn(
        [Compare(keys.LEADER, Revision(0))], [Put(keys.LEADER, me.node.encode())]
    )
    return store, Fence(revision)


def test_a_large_plan_is_written_whole_in_several_transactions() -> None:
    async def main(clock: Clock) -> int:
        store, fence = await leading(clock)
        await commit(store, fence, [manifest(number) for number in range(1, 251)])
        return len((await store.list(under(keys.DESIRED))).items)

    assert on_virtual_time(main) == 250


def test_a_document_that_is_too_large_does_not_stop_the_others() -> None:
    async def main(clock: Clock) -> list[str]:
        store, fence = await leading(clock)
        await commit(store, fence, [manifest(1, "x" * DOCUMENT_BYTES_MAX), manifest(2)])
        return [item.key for item in (await store.list(under(keys.DESIRED))).items]

    assert on_virtual_time(main) == [keys.desired(NodeName("node-2"))]


def test_a_document_that_has_changed_since_is_not_written_over() -> None:
    async def main(clock: Clock) -> bytes:
        store, fence = await leading(clock)
        await store.txn([], [Put(manifest(1).key, b"newer")])
        with pytest.raises(ConflictError):
            await commit(store, fence, [manifest(1)])
        return (await store.list(exactly(manifest(1).key))).items[0].value

    assert on_virtual_time(main) == b"newer"


def test_a_deposed_leader_writes_nothing() -> None:
    async def main(clock: Clock) -> int:
        store, fence = await leading(clock)
        old = Fence(Revision(fence.token - 1))
        with pytest.raises(FencedError):
            await commit(store, old, [manifest(1)])
        return len((await store.list(under(keys.DESIRED))).items)

    assert on_virtual_time(main) == 0
