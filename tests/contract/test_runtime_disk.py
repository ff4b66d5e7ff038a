"""What every runtime does on a disk without room, asked of the fake and of the real one."""

import os
from collections.abc import Iterator
from contextlib import nullcontext
from errno import ENOSPC
from pathlib import Path

import msgspec
import pytest

from node_agent.runtime import Phase
from shared.errors import RuntimeFailureError
from shared.model import AllocId, Assignment
from tests.contract.runtimes import WITHIN_S, Bench, small_ground
from tests.fakes.runtime import Behaviour
from tests.waiting import until

FOREVER = Behaviour()
NO_ROOM = os.strerror(ENOSPC)


@pytest.fixture(scope="module", params=["fake", pytest.param("oci", marks=pytest.mark.real)])
def place(request: pytest.FixtureRequest) -> Iterator[Path | None]:
    with small_ground() if request.param == "oci" else nullcontext() as directory:
        yield directory


def planned(bench: Bench) -> Assignment:
    """Return what is noted in two pages: the last exit code, which goes first, frees but one."""
    plain = bench.plan(FOREVER)
    longer = msgspec.structs.replace(plain.workload, environment={"LONG": "x" * 6000})
    return msgspec.structs.replace(plain, workload=longer)


async def phases(bench: Bench) -> dict[AllocId, Phase]:
    return {one.id: one.phase for one in await bench.runtime.list()}


async def exited(bench: Bench, id_: AllocId) -> None:
    bench.kill(id_)
    told = False

    def tell() -> None:
        nonlocal told
        told = True

    bench.runtime.on_exit(tell)
    if (await phases(bench))[id_] is not Phase.EXITED:
        await until(lambda: told, WITHIN_S)


async def test_without_room_no_container_is_made_and_with_room_it_is(bench: Bench) -> None:
    one = planned(bench)
    with bench.full(), pytest.raises(RuntimeFailureError, match=f"{one.id}: not made: {NO_ROOM}"):
        await bench.runtime.create(one)
    assert await bench.runtime.list() == ()

    await bench.runtime.create(one)
    assert await phases(bench) == {one.id: Phase.CREATED}


async def test_without_room_a_container_that_is_made_starts(bench: Bench) -> None:
    one = planned(bench)
    await bench.runtime.create(one)
    with bench.full():
        await bench.runtime.start(one.id)
    assert await phases(bench) == {one.id: Phase.RUNNING}


async def test_without_room_one_that_has_exited_does_not_start_and_the_others_run_on(
    bench: Bench,
) -> None:
    one, beside = planned(bench), planned(bench)
    for each in (one, beside):
        await bench.runtime.create(each)
        await bench.runtime.start(each.id)
    await exited(bench, one.id)
    with bench.full():
        with pytest.raises(RuntimeFailureError, match=f"{one.id}: not started: {NO_ROOM}"):
            await bench.runtime.start(one.id)
        assert await phases(bench) == {one.id: Phase.EXITED, beside.id: Phase.RUNNING}

    await bench.runtime.start(one.id)
    assert await phases(bench) == {one.id: Phase.RUNNING, beside.id: Phase.RUNNING}


async def test_without_room_what_is_there_can_be_ended_and_removed(bench: Bench) -> None:
    one = planned(bench)
    await bench.runtime.create(one)
    await bench.runtime.start(one.id)
    with bench.full():
        await bench.runtime.stop(one.id, 0.0)
        assert await phases(bench) == {one.id: Phase.EXITED}
        await bench.runtime.remove(one.id)
        assert await bench.runtime.list() == ()
