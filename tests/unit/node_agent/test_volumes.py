"""A node's volumes: told while their data is here, removed when they are to leave."""

import msgspec

from node_agent.volumes import Volumes
from shared.clock import Clock, SystemClock
from shared.model import AllocId, Assignment, Mount, MountKind
from tests.build import assignment, workload
from tests.fakes.runtime import FakeRuntime
from tests.virtual import on_virtual_time

A = AllocId("shop.db.1.a")
NAMED = Mount(kind=MountKind.VOLUME, source="shop_data", target="/data")
PLAIN = Mount(kind=MountKind.VOLUME, target="/cache")


def keeper() -> Assignment:
    return assignment(A, msgspec.structs.replace(workload(), mounts=(NAMED, PLAIN)))


async def test_what_is_here_is_told_and_what_is_to_leave_goes_once_nobody_uses_it() -> None:
    told: list[tuple[str, ...]] = []
    runtime = FakeRuntime(SystemClock())
    await runtime.pull("app:1")
    volumes = Volumes(runtime, lambda: told.append(volumes.present))
    await runtime.create(keeper())
    volumes.look(())
    await volumes.one_pass()
    assert told == [("shop_data",)]

    volumes.look(("shop_data",))
    soon_s = await volumes.one_pass()
    assert list(volumes.present) == ["shop_data"]
    assert volumes.problems == (f"cannot remove a volume: volume shop_data: {A} still uses it",)
    await runtime.remove(A)
    late_s = await volumes.one_pass()
    assert soon_s < late_s
    assert [*volumes.present, *volumes.problems] == []
    assert list(told[-1]) == []


def test_it_looks_again_only_when_something_has_changed() -> None:
    async def main(clock: Clock) -> None:
        async def wakes(volumes: Volumes) -> bool:
            began_s = clock.monotonic_s()
            await volumes.dirty.wait(60)
            return clock.monotonic_s() - began_s < 60

        runtime = FakeRuntime(clock)
        await runtime.pull("app:1")
        volumes = Volumes(runtime, lambda: None)
        volumes.look(())
        assert not await wakes(volumes)
        await runtime.create(keeper())
        volumes.look(())
        assert await wakes(volumes)

    on_virtual_time(main)
