"""Taking over from a leader whose host does not answer: whole schedulers on the store in memory."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Any

from scheduler.scheduler import Scheduler
from shared import codec, keys
from shared.clock import Clock
from shared.model import Leader, NodeName, Session, Silence, Suspicion
from shared.settings import EtcdSettings, Settings
from shared.store import KeyValue, Put, exactly
from shared.timing import LAN
from tests.build import node_spec
from tests.fakes.etcd import FakeEtcd
from tests.fakes.store import FakeStore
from tests.virtual import on_virtual_time
from tests.waiting import until

ONE, TWO, THREE = NAMES = tuple(NodeName(f"node-{number}") for number in (1, 2, 3))
_WITHIN_S = 60.0


class Rig:
    """Three registered nodes with sessions; schedulers run where they are told to."""

    def __init__(self, clock: Clock, group: asyncio.TaskGroup) -> None:
        self.clock, self._group = clock, group
        self.etcd = FakeEtcd(clock)
        self.store = FakeStore(self.etcd, "test")
        self.stores = {name: FakeStore(self.etcd, name) for name in NAMES}
        self.tasks: list[asyncio.Task[None]] = []

    async def register(self) -> None:
        lease = await self.store.grant_for(3600.0)
        for name in NAMES:
            spec, session = node_spec(name), Session(node=name, boot_id="b", version="1")
            await self.store.txn([], [Put(keys.node_spec(name), codec.encode(spec))])
            await self.store.txn([], [Put(keys.node_alive(name), codec.encode(session), lease)])

    def start(self, name: NodeName) -> None:
        settings = Settings(
            node=name,
            address=node_spec(name).address,
            subnet=node_spec(name).subnet,
            pool="198.19.0.0/16",
            etcd=EtcdSettings(endpoints=("fake",)),
        )
        rng = random.Random(name)  # noqa: S311 - replays exactly
        one = Scheduler(self.stores[name], settings, clock=self.clock, rng=rng)
        self.tasks.append(self._group.create_task(one.run()))

    async def suspect(self, node: NodeName, *peers: NodeName) -> None:
        for peer in peers:
            said = Suspicion(node=node, peer=peer, silence=Silence.HOST)
            await self.store.txn([], [Put(keys.suspect(node, peer), codec.encode(said))])

    async def leads(self, name: NodeName) -> bool:
        item = await self.leader_key()
        return item is not None and codec.decode(Leader, item.value, item.key).node == name

    async def leader_key(self) -> KeyValue | None:
        found = (await self.store.list(exactly(keys.LEADER))).items
        return found[0] if found else None

    async def until_leads(self, name: NodeName) -> None:
        await until(lambda: self.leads(name), _WITHIN_S)


def with_one_that_leads(scenario: Callable[[Rig], Coroutine[Any, Any, None]]) -> None:
    """Run a scenario in which node-1 leads and node-2 follows."""

    async def main(clock: Clock) -> None:
        async with asyncio.TaskGroup() as group:
            rig = Rig(clock, group)
            await rig.register()
            rig.start(ONE)
            await rig.until_leads(ONE)
            rig.start(TWO)
            # Long past the follower's first look at the key and at the nodes.
            await clock.sleep(5.0)
            await scenario(rig)
            for task in rig.tasks:
                task.cancel()

    on_virtual_time(main)


def test_a_leader_whose_host_two_peers_miss_is_replaced_long_before_its_lease_ends() -> None:
    async def scenario(rig: Rig) -> None:
        rig.stores[ONE].cut()
        began_s = rig.clock.monotonic_s()
        await rig.suspect(ONE, TWO, THREE)
        await rig.until_leads(TWO)
        assert rig.clock.monotonic_s() - began_s < LAN.leader_ttl_s / 4

    with_one_that_leads(scenario)


def test_a_deposed_leader_that_lives_follows_and_does_not_take_the_office_back() -> None:
    async def scenario(rig: Rig) -> None:
        before = await rig.leader_key()
        await rig.suspect(ONE, TWO, THREE)
        await rig.until_leads(TWO)
        for _ in range(10):
            await rig.clock.sleep(LAN.leader_ttl_s)
            now = await rig.leader_key()
            assert now is not None
            assert before is not None
            assert now.create_revision > before.create_revision
            assert await rig.leads(TWO)

    with_one_that_leads(scenario)


def test_the_word_of_one_peer_deposes_nobody() -> None:
    async def scenario(rig: Rig) -> None:
        before = await rig.leader_key()
        await rig.suspect(ONE, TWO)
        await rig.clock.sleep(10 * LAN.leader_ttl_s)
        assert await rig.leader_key() == before

    with_one_that_leads(scenario)


def test_without_any_word_the_lease_decides() -> None:
    async def scenario(rig: Rig) -> None:
        rig.stores[ONE].cut()
        await rig.clock.sleep(LAN.leader_ttl_s / 2)
        assert await rig.leads(ONE)
        await rig.until_leads(TWO)

    with_one_that_leads(scenario)
