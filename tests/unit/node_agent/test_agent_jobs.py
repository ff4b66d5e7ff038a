"""A whole agent on a fake runtime and store: work that ends, secrets, volumes, and its report."""

import asyncio
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from node_agent.network.fabric import FabricStatus, Topology
from node_agent.runtime import Phase
from shared import codec, keys
from shared.clock import Clock
from shared.model import (
    Assignment,
    Content,
    Manifest,
    Mount,
    MountedFile,
    MountKind,
    RestartCondition,
    RestartPolicy,
    Routes,
    StackName,
)
from shared.seal import seal
from shared.states import AllocState
from shared.store import Put
from tests.build import assignment, workload
from tests.fakes.fabric import FakeFabric
from tests.fakes.runtime import FakeRuntime
from tests.unit.node_agent.agent_rig import ME, A, B, Node, states, status
from tests.virtual import on_virtual_time

ONCE = msgspec.structs.replace(
    workload(),
    restart=RestartPolicy(condition=RestartCondition.NONE),
    mounts=(Mount(kind=MountKind.VOLUME, source="shop_data", target="/data"),),
    files=(MountedFile(content="shop/pass/1", target="/run/pass", is_secret=True),),
)


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
