"""What every runtime promises, asked of the fake and of the real one."""

import asyncio
import math
from collections.abc import Iterator
from contextlib import aclosing, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import pytest

from node_agent.runtime import Container, ExecResult, Phase
from shared.errors import ImageError, RuntimeFailureError
from shared.model import AllocId, Assignment, Mount, MountedFile, MountKind
from tests.contract.runtimes import (
    IMAGE,
    UNKNOWN_IMAGE,
    WITHIN_S,
    Bench,
    assignment,
    ended,
    ground,
    only,
    said,
    shell,
)
from tests.fakes.runtime import Behaviour
from tests.waiting import until

FOREVER = Behaviour()


@pytest.fixture(scope="module", params=["fake", pytest.param("oci", marks=pytest.mark.real)])
def place(request: pytest.FixtureRequest) -> Iterator[Path | None]:
    with ground() if request.param == "oci" else nullcontext() as directory:
        yield directory


async def run(bench: Bench, behaviour: Behaviour) -> AllocId:
    """Create and start a container; return its id."""
    planned = bench.plan(behaviour)
    await bench.runtime.create(planned)
    await bench.runtime.start(planned.id)
    return planned.id


async def test_a_created_container_waits_to_be_started(bench: Bench) -> None:
    planned = bench.plan(FOREVER)
    await bench.runtime.create(planned)

    container = await only(bench)
    assert container.address
    assert container == Container(
        assignment=planned, phase=Phase.CREATED, address=container.address
    )


async def test_a_started_container_runs_until_somebody_ends_it(bench: Bench) -> None:
    id_ = await run(bench, FOREVER)
    container = await only(bench)

    assert (container.id, container.phase, container.started) == (id_, Phase.RUNNING, 1)
    assert container.exit_code is None


async def test_every_action_done_twice_is_done_once(bench: Bench) -> None:
    planned = bench.plan(FOREVER)
    for _ in range(2):
        await bench.runtime.pull(IMAGE)
    for _ in range(2):
        await bench.runtime.create(planned)
    for _ in range(2):
        await bench.runtime.start(planned.id)
    assert (await only(bench)).started == 1

    for _ in range(2):
        await bench.runtime.stop(planned.id, WITHIN_S)
    assert (await only(bench)).phase is Phase.EXITED

    for _ in range(2):
        await bench.runtime.remove(planned.id)
    assert await bench.runtime.list() == ()


async def test_containers_are_listed_by_id(bench: Bench) -> None:
    planned = [bench.plan(FOREVER) for _ in range(3)]
    for one in reversed(planned):
        await bench.runtime.create(one)

    listed = [container.id for container in await bench.runtime.list()]
    assert listed == sorted(one.id for one in planned)


async def test_the_runtime_tells_when_a_container_exits_and_with_which_code(bench: Bench) -> None:
    await run(bench, Behaviour(ends_after_s=0.2, exit_code=7))

    container = await ended(bench)
    assert (container.phase, container.exit_code) == (Phase.EXITED, 7)
    assert not container.oom_killed


async def test_a_signal_that_ends_a_container_is_in_its_exit_code(bench: Bench) -> None:
    id_ = await run(bench, FOREVER)
    bench.kill(id_)

    assert (await ended(bench)).exit_code == 137


async def test_an_exited_container_starts_again_with_its_address(bench: Bench) -> None:
    id_ = await run(bench, FOREVER)
    before = await only(bench)
    bench.kill(id_)
    await ended(bench)
    await bench.runtime.start(id_)

    after = await only(bench)
    assert (after.phase, after.started, after.exit_code) == (Phase.RUNNING, 2, None)
    assert after.address == before.address


async def test_stop_lets_the_program_end_by_itself(bench: Bench) -> None:
    id_ = await run(bench, Behaviour(exit_code=3, output=("ready",)))
    await said(bench, id_, "ready")
    await bench.runtime.stop(id_, WITHIN_S)

    assert (await only(bench)).exit_code == 3


async def test_stop_kills_a_program_that_does_not_listen(bench: Bench) -> None:
    id_ = await run(bench, Behaviour(stops_after_s=math.inf, output=("ready",)))
    await said(bench, id_, "ready")
    await bench.runtime.stop(id_, 0.1)

    assert (await only(bench)).exit_code == 137


async def test_a_container_that_never_started_can_be_stopped(bench: Bench) -> None:
    planned = bench.plan(FOREVER)
    await bench.runtime.create(planned)
    await bench.runtime.stop(planned.id, 0.1)

    assert (await only(bench)).phase is Phase.EXITED
    assert (await only(bench)).started == 0


async def test_a_running_container_can_be_removed(bench: Bench) -> None:
    id_ = await run(bench, FOREVER)
    await bench.runtime.remove(id_)

    assert await bench.runtime.list() == ()


async def test_what_is_not_there_can_be_stopped_and_removed_but_not_used(bench: Bench) -> None:
    nobody = AllocId("test.web.0.nobody")
    await bench.runtime.stop(nobody, 0.1)
    await bench.runtime.remove(nobody)

    with pytest.raises(RuntimeFailureError, match="no such container"):
        await bench.runtime.start(nobody)
    with pytest.raises(RuntimeFailureError, match="no such container"):
        await bench.runtime.exec(nobody, ("true",), 1)


async def test_an_agent_that_starts_adopts_what_runs(bench: Bench) -> None:
    id_ = await run(bench, FOREVER)
    before = await bench.runtime.list()
    bench.restart_agent()
    assert await bench.runtime.list() == before

    heard = asyncio.Event()
    bench.runtime.on_exit(heard.set)
    bench.kill(id_)
    await until(heard.is_set, WITHIN_S)
    assert (await only(bench)).exit_code == 137


async def test_a_command_runs_inside_and_its_output_and_code_come_back(bench: Bench) -> None:
    behaviour = Behaviour(exec_code=3, exec_output="hello\n")
    id_ = await run(bench, behaviour)

    assert await bench.runtime.exec(id_, bench.command(behaviour), WITHIN_S) == ExecResult(
        3, "hello\n"
    )


async def test_a_command_past_its_deadline_is_killed(bench: Bench) -> None:
    behaviour = Behaviour(exec_s=1000)
    id_ = await run(bench, behaviour)

    assert (await bench.runtime.exec(id_, bench.command(behaviour), 0.2)).exit_code == 124
    assert (await only(bench)).phase is Phase.RUNNING


async def test_a_command_needs_a_running_container(bench: Bench) -> None:
    planned = bench.plan(FOREVER)
    await bench.runtime.create(planned)

    with pytest.raises(RuntimeFailureError, match="is created, not running"):
        await bench.runtime.exec(planned.id, ("true",), 1)


async def test_the_last_lines_of_the_log_can_be_asked_for(bench: Bench) -> None:
    id_ = await run(bench, Behaviour(output=("one", "two", "three")))
    await said(bench, id_, "three")

    assert await texts(bench, id_, tail=2) == ["two", "three"]
    assert await texts(bench, id_, tail=0) == []


async def test_whoever_follows_the_log_gets_it_until_the_container_is_removed(bench: Bench) -> None:
    id_ = await run(bench, Behaviour(output=("first",)))
    heard: list[str] = []

    async def follow() -> None:
        async with aclosing(bench.runtime.logs(id_, follow=True, tail=None)) as lines:
            async for line in lines:
                heard.append(line.text)  # noqa: PERF401 - read by the other task meanwhile

    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as group:
        group.create_task(follow())
        await until(lambda: heard == ["first"], WITHIN_S)
        await bench.runtime.stop(id_, WITHIN_S)
        await bench.runtime.start(id_)
        await until(lambda: heard == ["first", "first"], WITHIN_S)
        await bench.runtime.remove(id_)


async def test_an_image_that_is_not_here_is_refused(bench: Bench) -> None:
    absent = shell("true", image=UNKNOWN_IMAGE)

    assert await bench.runtime.has_image(IMAGE)
    assert not await bench.runtime.has_image(UNKNOWN_IMAGE)
    with pytest.raises(ImageError, match=r"127\.0\.0\.1:1/none:1"):
        await bench.runtime.pull(UNKNOWN_IMAGE)
    with pytest.raises(ImageError, match="not on this node"):
        await bench.runtime.create(assignment(absent))


async def test_a_create_that_was_cut_off_can_be_done_again(bench: Bench) -> None:
    planned = bench.plan(FOREVER)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.005):
            await bench.runtime.create(planned)
    assert await bench.runtime.list() == ()

    await bench.runtime.create(planned)
    await bench.runtime.start(planned.id)
    assert (await only(bench)).phase is Phase.RUNNING


async def test_a_create_that_was_cut_off_can_be_removed(bench: Bench) -> None:
    planned = bench.plan(FOREVER)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.005):
            await bench.runtime.create(planned)
    await bench.runtime.remove(planned.id)

    assert await bench.runtime.list() == ()


async def test_a_volume_is_here_from_its_first_use_until_nobody_has_it_and_it_is_removed(
    bench: Bench,
) -> None:
    named = Mount(kind=MountKind.VOLUME, source="shop_data", target="/data")
    planned = with_workload(bench.plan(FOREVER), mounts=(named,))
    assert bench.runtime.volumes() == ()
    await bench.runtime.create(planned)
    assert bench.runtime.volumes() == ("shop_data",)
    with pytest.raises(RuntimeFailureError, match=f"volume shop_data: {planned.id} still uses it"):
        await bench.runtime.remove_volume("shop_data")

    await bench.runtime.remove(planned.id)
    assert bench.runtime.volumes() == ("shop_data",)
    for _ in range(2):
        await bench.runtime.remove_volume("shop_data")
    assert bench.runtime.volumes() == ()


async def test_a_container_with_files_needs_what_is_in_them(bench: Bench) -> None:
    files = (MountedFile(content="s/x/1", target="/x"),)
    planned = with_workload(bench.plan(FOREVER), files=files)
    with pytest.raises(RuntimeFailureError, match="/x: its content"):
        await bench.runtime.create(planned)
    await bench.runtime.create(planned, {"s/x/1": b"text"})
    await bench.runtime.start(planned.id)
    assert (await only(bench)).phase is Phase.RUNNING


def with_workload(planned: Assignment, **more: Any) -> Assignment:
    workload = msgspec.structs.replace(planned.workload, **more)
    return msgspec.structs.replace(planned, workload=workload)


async def test_the_node_has_something_for_containers(bench: Bench) -> None:
    capacity = bench.runtime.capacity()
    assert capacity.cpu_millis >= 1000
    assert capacity.memory_bytes > 0


async def texts(bench: Bench, id_: AllocId, tail: int | None) -> list[str]:
    async with aclosing(bench.runtime.logs(id_, follow=False, tail=tail)) as lines:
        return [line.text async for line in lines]
