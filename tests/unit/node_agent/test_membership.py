"""Which host may be a node: its first day, its return from elsewhere, and after it was removed."""

import asyncio
import random

import msgspec
import pytest

from node_agent.membership import Membership, register
from node_agent.views import Complaints
from shared import codec, keys
from shared.clock import Clock, SystemClock
from shared.errors import ConflictError, SettingsError
from shared.model import Availability, NodeSpec, Session
from shared.settings import EtcdSettings, Settings
from shared.store import Delete, Put, under
from tests.build import node_spec
from tests.fakes.store import FakeEtcd, FakeStore, WriteFate
from tests.virtual import on_virtual_time
from tests.waiting import until

SPEC = node_spec("node-1", zone="a")


class Rig:
    """A store in memory, and a host that asks to be a node."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.server = FakeEtcd(clock or SystemClock())
        self.store = FakeStore(self.server, "node-1/agent")

    def lives(self) -> None:
        session = Session(node=SPEC.name, boot_id="1", version="1")
        self.server.txn([], [Put(keys.node_alive(SPEC.name), codec.encode(session))])

    def put(self, spec: NodeSpec) -> None:
        self.server.txn([], [Put(keys.node_spec(spec.name), codec.encode(spec))])

    def spec(self) -> NodeSpec:
        (item,) = self.server.list(under(keys.node_spec(SPEC.name))).items
        return codec.decode(NodeSpec, item.value, item.key)


async def test_the_first_day_makes_the_spec_and_later_ones_leave_it_as_it_is() -> None:
    rig = Rig()
    first = await register(rig.store, SPEC, Complaints())
    assert rig.spec() == SPEC
    said = msgspec.structs.replace(SPEC, labels={}, availability=Availability.CORDONED)
    rig.put(said)
    again = await register(rig.store, SPEC, Complaints())
    assert rig.spec() == said
    assert again.spec > first.spec
    assert (first.session, again.session) == (0, 0)


async def test_a_host_at_another_address_takes_its_node_along_and_keeps_what_people_said() -> None:
    rig = Rig()
    said = msgspec.structs.replace(SPEC, labels={"b": "c"}, availability=Availability.DRAINING)
    rig.put(said)
    moved = msgspec.structs.replace(SPEC, address="198.18.0.99")
    await register(rig.store, moved, Complaints())
    assert rig.spec() == msgspec.structs.replace(said, address="198.18.0.99")


async def test_a_session_that_begins_meanwhile_keeps_the_address() -> None:
    rig = Rig()
    rig.put(SPEC)

    def fate() -> WriteFate:
        rig.lives()
        return WriteFate.NORMAL

    rig.store.write_fate = fate
    with pytest.raises(ConflictError):
        await register(
            rig.store, msgspec.structs.replace(SPEC, address="198.18.0.99"), Complaints()
        )
    assert rig.spec() == SPEC


@pytest.mark.parametrize(
    ("ours", "lives", "why"),
    [
        ({"address": "198.18.0.99"}, True, "with address 198.18.0.1, not 198.18.0.99"),
        ({"subnet": "198.19.9.0/24"}, False, "with subnet 198.19.1.0/24, not 198.19.9.0/24"),
        ({"name": "node-2"}, False, "subnet 198.19.1.0/24 already belongs to node node-1"),
        (
            {"name": "node-2", "subnet": "198.19.9.0/24"},
            False,
            "address 198.18.0.1 already belongs to node node-1",
        ),
    ],
)
async def test_a_host_that_would_be_taken_for_another_is_refused(
    ours: dict[str, str],
    lives: bool,  # noqa: FBT001 - drawn
    why: str,
) -> None:
    rig = Rig()
    rig.put(SPEC)
    if lives:
        rig.lives()
    with pytest.raises(SettingsError, match=why):
        await register(rig.store, msgspec.structs.replace(SPEC, **ours), Complaints())
    assert rig.spec() == SPEC


def test_no_session_begins_for_a_node_that_was_removed_meanwhile() -> None:
    async def main(clock: Clock) -> None:
        rig = Rig(clock)
        rig.put(SPEC)
        seen: list[set[str]] = []

        def fate() -> WriteFate:
            if not seen:
                # It has read its spec, and is about to write its session.
                rig.server.txn([], [Delete(keys.node_spec(SPEC.name))])
            seen.append({item.key for item in rig.server.list(under(keys.NODES)).items})
            return WriteFate.NORMAL

        rig.store.write_fate = fate
        settings = Settings(
            node=SPEC.name,
            address=SPEC.address,
            subnet=SPEC.subnet,
            pool="198.19.0.0/16",
            etcd=EtcdSettings(endpoints=("fake",)),
        )
        rng = random.Random(1)  # noqa: S311 - replays exactly
        membership = Membership(rig.store, SPEC, settings, clock, rng)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(membership.run())
            await until(lambda: membership.session is not None, 60.0)
            task.cancel()
        # Its second attempt found nothing, and made it a new node.
        assert seen[1] == set()
        assert rig.spec() == SPEC

    on_virtual_time(main)
