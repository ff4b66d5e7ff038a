"""A whole agent on a fake runtime and store: work that ends, secrets, volumes, and its report."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest

from node_agent.agent import Agent
from node_agent.journal import Journal
from node_agent.network.fabric import Fabric, FabricStatus, Topology
from node_agent.outside import Outside
from node_agent.peers.net import Received, Way
from node_agent.runtime import Phase
from shared import codec, keys
from shared.clock import Clock
from shared.model import (
    AllocationStatus,
    AllocId,
    Assignment,
    Content,
    Manifest,
    Mount,
    MountedFile,
    MountKind,
    NodeName,
    Report,
    RestartCondition,
    RestartPolicy,
    Routes,
    StackName,
)
from shared.seal import seal
from shared.settings import EtcdSettings, SecretsSettings, Settings
from shared.states import AllocState
from shared.store import Put, exactly
from tests.build import assignment, workload
from tests.fakes.addresses import FakeAddresses
from tests.fakes.fabric import FakeFabric
from tests.fakes.gateway import FakeGateway
from tests.fakes.runtime import Behaviour, FakeRuntime
from tests.fakes.store import FakeEtcd, FakeStore
from tests.virtual import on_virtual_time
from tests.waiting import until

ME = NodeName("node-1")
A, B = AllocId("shop.job.1.a"), AllocId("shop.job.2.b")
WITHIN_S = 120.0
ONCE = msgspec.structs.replace(
    workload(),
    restart=RestartPolicy(condition=RestartCondition.NONE),
    mounts=(Mount(kind=MountKind.VOLUME, source="shop_data", target="/data"),),
    files=(MountedFile(content="shop/pass/1", target="/run/pass", is_secret=True),),
)


class NoNet:
    """A network without peers."""

    def open(self, received: Received) -> None:
        del received

    def send(self, way: Way, address: str, datagram: bytes) -> None:
        del way, address, datagram

    def close(self) -> None:
        pass


class NoPromise:
    """Nothing was ever promised."""

    def read(self) -> float:
        return 0.0

    def write(self, until_boot_s: float) -> None:
        del until_boot_s


class Timed(FakeFabric):
    """A kernel that notes when it was only told, and when it was looked through."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.told_s: list[float] = []
        self.looked_s: list[float] = []
        self._clock = clock

    async def apply(self, topology: Topology, *, looks: bool = True) -> FabricStatus:
        (self.looked_s if looks else self.told_s).append(self._clock.monotonic_s())
        return await super().apply(topology, looks=looks)


class Node:
    """What outlives the agent, and agents on it."""

    def __init__(self, clock: Clock, folder: Path) -> None:
        self.clock, self.folder = clock, folder
        self.etcd = FakeEtcd(clock)
        self.leader = FakeStore(self.etcd, "leader")
        self.fabric: Fabric = FakeFabric()
        self.runtime = FakeRuntime(
            clock,
            known=["app:1"],
            behaviour=lambda each: Behaviour(ends_after_s=1.0, exit_code=0 if each.id == A else 3),
        )
        key = folder / "secrets.key"
        key.write_bytes(b"k" * 32)
        key.chmod(0o600)
        self.settings = Settings(
            node=ME,
            address="198.18.0.1",
            subnet="198.19.1.0/24",
            pool="198.19.0.0/16",
            etcd=EtcdSettings(endpoints=("fake",)),
            secrets=SecretsSettings(key=key),
        )

    async def write(self, manifest: Manifest) -> None:
        await self.leader.txn([], [Put(keys.desired(ME), codec.encode(manifest))])

    def agent(self, *, cut_off: bool = False) -> Coroutine[Any, Any, None]:
        outside = Outside(
            runtime=self.runtime,
            gateway=FakeGateway(),
            fabric=self.fabric,
            answers=_answers,
            journal=Journal(self.folder),
            net=NoNet(),
            promise=NoPromise(),
            addresses=FakeAddresses(self.clock),
        )
        store = FakeStore(self.etcd, "agent")
        if cut_off:
            store.cut()
        rng = random.Random(1)  # noqa: S311 - jitter
        return Agent(store, outside, self.settings, clock=self.clock, rng=rng).run()

    def report(self) -> Report | None:
        items = self.etcd.list(exactly(keys.observed(ME))).items
        return codec.decode(Report, items[0].value, "report") if items else None

    async def reported(self, condition: Callable[[Report], bool]) -> Report:
        """Wait for a report."""

        def is_it() -> bool:
            found = self.report()
            return found is not None and condition(found)

        await until(is_it, WITHIN_S)
        found = self.report()
        assert found is not None
        return found


async def _answers(_address: str, _ports: Iterable[int], _timeout_s: float) -> bool:
    return True


def states(report: Report) -> dict[AllocId, AllocState]:
    return {each.id: each.state for each in report.allocations}


def status(report: Report, id_: AllocId) -> AllocationStatus:
    (found,) = [each for each in report.allocations if each.id == id_]
    return found


def jobs() -> tuple[Assignment, ...]:
    return (assignment(A, ONCE), assignment(B, ONCE))


def test_work_that_ends_is_complete_or_failed_once_and_for_all(tmp_path: Path) -> None:
    async def main(clock: Clock) -> None:
        node = Node(clock, tmp_path)
        where = keys.content("shop/pass/1")
        sealed = Content(sealed=seal(b"k" * 32, where, b"hunter2", b"n" * 12))
        await node.leader.txn([], [Put(where, codec.encode(sealed))])
        manifest = Manifest(node=ME, generation=1, assignments=jobs(), images=("app:1", "app:2"))
        await node.write(manifest)
        over = {A: AllocState.COMPLETE, B: AllocState.FAILED}
        for _ in range(2):  # and after a reboot, with another agent
            async with asyncio.TaskGroup() as group:
                agent = group.create_task(node.agent())
                await node.reported(lambda one: states(one) == over and bool(one.missing_images))
                await clock.sleep(30)
                agent.cancel()
            assert states(await node.reported(lambda _: True)) == over
            node.runtime.power_loss()

        report = await node.reported(lambda _: True)
        assert [each.started for each in node.runtime.all()] == [1, 1]
        assert {each.phase for each in node.runtime.all()} == {Phase.EXITED}
        assert status(report, A).exit_code == 0
        assert status(report, B).reason == "it exited with code 3; its restart policy is none"
        assert report.missing_images == {"app:2": "app:2: no such image"}
        assert report.volumes == ("shop_data",)

    on_virtual_time(main)


def test_a_volume_leaves_when_its_containers_have(tmp_path: Path) -> None:
    async def main(clock: Clock) -> None:
        node = Node(clock, tmp_path)
        plain = msgspec.structs.replace(ONCE, files=())
        await node.write(Manifest(node=ME, generation=1, assignments=(assignment(A, plain),)))
        async with asyncio.TaskGroup() as group:
            agent = group.create_task(node.agent())
            await node.reported(lambda one: one.volumes == ("shop_data",))
            await node.write(Manifest(node=ME, generation=2, leaving_volumes=("shop_data",)))
            report = await node.reported(lambda one: not one.volumes)
            assert report.allocations == ()
            agent.cancel()

    on_virtual_time(main)


def test_without_the_clusters_key_the_allocation_says_what_to_do(tmp_path: Path) -> None:
    async def main(clock: Clock) -> None:
        node = Node(clock, tmp_path)
        node.settings.secrets.key.unlink()
        await node.write(Manifest(node=ME, generation=1, assignments=jobs()[:1]))
        async with asyncio.TaskGroup() as group:
            agent = group.create_task(node.agent())
            report = await node.reported(lambda one: states(one) == {A: AllocState.FAILED})
            assert "need the cluster's key of 32 bytes there" in status(report, A).reason
            agent.cancel()

    on_virtual_time(main)


def test_an_agent_that_has_lost_its_memory_leaves_what_runs_until_etcd_has_spoken(
    tmp_path: Path,
) -> None:
    async def main(clock: Clock) -> None:
        node = Node(clock, tmp_path)
        node.runtime = FakeRuntime(clock)
        seen: list[Phase] = []
        node.runtime.on_run(lambda _, phase: seen.append(phase))
        wanted = assignment(A, msgspec.structs.replace(ONCE, files=()))
        await node.write(Manifest(node=ME, generation=1, assignments=(wanted,)))
        running = {A: AllocState.RUNNING}
        for cut_off in (False, True, False):
            async with asyncio.TaskGroup() as group:
                agent = group.create_task(node.agent(cut_off=cut_off))
                await node.reported(lambda one: states(one) == running)
                await clock.sleep(60)
                agent.cancel()
            node.runtime.agent_crash()
            (tmp_path / "agent.json").write_bytes(b"garbage")
        assert seen == [Phase.RUNNING]

    on_virtual_time(main)


def test_the_whole_kernel_is_looked_through_every_five_seconds_however_often_routes_change(
    tmp_path: Path,
) -> None:
    async def main(clock: Clock) -> None:
        node = Node(clock, tmp_path)
        node.fabric = fabric = Timed(clock)
        async with asyncio.TaskGroup() as group:
            agent = group.create_task(node.agent())
            for number in range(50):
                stack = StackName(f"shop{number}")
                routes = codec.encode(Routes(stack=stack))
                await node.leader.txn([], [Put(keys.routes(stack), routes)])
                await clock.sleep(0.7)
            agent.cancel()
        gaps = [after - before for before, after in pairwise(fabric.looked_s)]
        assert gaps == pytest.approx([5.0] * 6, abs=0.01)
        assert len(fabric.told_s) > 40

    on_virtual_time(main)
