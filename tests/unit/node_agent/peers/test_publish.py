"""Suspicions in the store: written when they change, under the session's lease, and only then."""

from collections.abc import Sequence

import pytest

from node_agent.peers.publish import SuspicionPublisher
from shared import codec, keys
from shared.clock import Clock
from shared.errors import AmbiguousError
from shared.model import NodeName, Revision, Silence, Suspicion
from shared.store import Condition, KeyRange, Op, Put, Snapshot, under
from tests.fakes.store import FakeEtcd, FakeStore, WriteFate
from tests.virtual import on_virtual_time

ME, A, B = NodeName("node-1"), NodeName("node-2"), NodeName("node-3")


class CountedStore(FakeStore):
    """Counts what is asked of it."""

    calls = 0

    async def list(self, keys: KeyRange) -> Snapshot:
        self.calls += 1
        return await super().list(keys)

    async def txn(self, conditions: Sequence[Condition], ops: Sequence[Op]) -> Revision:
        self.calls += 1
        return await super().txn(conditions, ops)


class Rig:
    """One node's publisher, its session, and what it suspects."""

    def __init__(self, clock: Clock) -> None:
        self.server = FakeEtcd(clock)
        self.store = CountedStore(self.server, "node-1/agent")
        self.lease: int | None = None
        self.suspicions: dict[NodeName, Silence] = {}
        self.publisher = SuspicionPublisher(
            self.store,
            ME,
            clock,
            lease=lambda: self.lease,
            suspicions=lambda: self.suspicions,
        )

    def found(self) -> dict[str, tuple[Silence, int]]:
        return {
            item.key: (codec.decode(Suspicion, item.value, item.key).silence, item.lease)
            for item in self.server.list(under(keys.SUSPECTS)).items
        }


def test_it_writes_what_changed_and_otherwise_leaves_the_store_alone() -> None:
    async def main(clock: Clock) -> None:
        rig = Rig(clock)
        rig.suspicions = {A: Silence.HOST}
        await rig.publisher.one_pass()
        assert rig.store.calls == 0
        lease = rig.lease = await rig.store.grant_for(3600.0)
        await rig.publisher.one_pass()
        assert rig.found() == {keys.suspect(A, ME): (Silence.HOST, lease)}
        rig.suspicions = {A: Silence.AGENT, B: Silence.HOST}
        await rig.publisher.one_pass()
        assert rig.found() == {
            keys.suspect(A, ME): (Silence.AGENT, lease),
            keys.suspect(B, ME): (Silence.HOST, lease),
        }
        calls = rig.store.calls
        for _ in range(10):
            await rig.publisher.one_pass()
        assert rig.store.calls == calls
        rig.suspicions = {}
        await rig.publisher.one_pass()
        assert rig.found() == {}

    on_virtual_time(main)


def test_what_an_earlier_life_left_is_removed_and_others_keys_stay() -> None:
    async def main(clock: Clock) -> None:
        rig = Rig(clock)
        old = await rig.store.grant_for(3600.0)
        for node, peer in ((A, ME), (B, ME), (A, B)):
            record = Suspicion(node=node, peer=peer, silence=Silence.HOST)
            await rig.store.txn([], [Put(keys.suspect(node, peer), codec.encode(record), old)])
        await rig.store.txn([], [Put(keys.suspect(ME, ME), b"no json", old)])
        lease = rig.lease = await rig.store.grant_for(3600.0)
        rig.suspicions = {B: Silence.HOST}
        await rig.publisher.one_pass()
        assert rig.found() == {
            keys.suspect(A, B): (Silence.HOST, old),
            keys.suspect(B, ME): (Silence.HOST, lease),
        }

    on_virtual_time(main)


def test_a_new_session_writes_again_and_a_lost_one_is_waited_for() -> None:
    async def main(clock: Clock) -> None:
        rig = Rig(clock)
        rig.suspicions = {A: Silence.HOST}
        rig.lease = await rig.store.grant_for(3600.0)
        await rig.publisher.one_pass()
        await rig.store.revoke(rig.lease)
        rig.suspicions = {B: Silence.HOST}
        rig.lease = 999
        await rig.publisher.one_pass()
        assert rig.found() == {}
        lease = rig.lease = await rig.store.grant_for(3600.0)
        await rig.publisher.one_pass()
        assert rig.found() == {keys.suspect(B, ME): (Silence.HOST, lease)}

    on_virtual_time(main)


@pytest.mark.parametrize("fate", [WriteFate.ANSWER_LOST, WriteFate.REQUEST_LOST])
def test_a_write_of_unknown_fate_is_read_back(fate: WriteFate) -> None:
    async def main(clock: Clock) -> None:
        rig = Rig(clock)
        rig.suspicions = {A: Silence.HOST}
        lease = rig.lease = await rig.store.grant_for(3600.0)
        rig.store.write_fate = lambda: fate
        with pytest.raises(AmbiguousError):
            await rig.publisher.one_pass()
        rig.store.write_fate = lambda: WriteFate.NORMAL
        await rig.publisher.one_pass()
        assert rig.found() == {keys.suspect(A, ME): (Silence.HOST, lease)}

    on_virtual_time(main)
