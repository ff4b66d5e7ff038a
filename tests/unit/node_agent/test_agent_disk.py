"""A whole agent on a host whose disk refuses: what needs the disk fails alone, and is told."""

import asyncio
import errno
import os
from pathlib import Path

from node_agent.journal import Journal, Page
from node_agent.runtime import Container, Phase
from shared.clock import Clock
from shared.errors import RuntimeFailureError
from shared.model import Manifest
from shared.states import AllocState
from tests.build import assignment, workload
from tests.fakes.runtime import FakeRuntime
from tests.unit.node_agent.agent_rig import ME, A, B, Node, states, status
from tests.virtual import on_virtual_time

NO_ROOM = os.strerror(errno.ENOSPC)


class Hidden(FakeRuntime):
    """A runtime whose records cannot be read for a while."""

    is_hidden = False

    async def list(self) -> tuple[Container, ...]:
        if self.is_hidden:
            raise RuntimeFailureError("containers: not listed: Input/output error (its files)")
        return await super().list()


def test_on_a_full_disk_what_must_be_made_fails_and_what_runs_runs_on(tmp_path: Path) -> None:
    async def main(clock: Clock) -> None:
        node = Node(clock, tmp_path)
        node.runtime = FakeRuntime(clock)
        both = (assignment(A, workload()), assignment(B, workload()))
        await node.write(Manifest(node=ME, generation=1, assignments=both))
        async with asyncio.TaskGroup() as group:
            agent = group.create_task(node.agent())
            await node.reported(lambda one: set(states(one).values()) == {AllocState.RUNNING})
            node.runtime.is_full = True
            node.runtime.crash(A)
            after = {A: AllocState.FAILED, B: AllocState.RUNNING}
            report = await node.reported(lambda one: states(one) == after)
            assert status(report, A).reason == f"{A}: not started: {NO_ROOM}"
            agent.cancel()

    on_virtual_time(main)


def test_an_image_that_finds_no_room_is_fetched_ahead_of_need_once_there_is(
    tmp_path: Path,
) -> None:
    async def main(clock: Clock) -> None:
        node = Node(clock, tmp_path)
        node.runtime.is_full = True
        await node.write(Manifest(node=ME, generation=1, images=("app:1",)))
        async with asyncio.TaskGroup() as group:
            agent = group.create_task(node.agent())
            report = await node.reported(lambda one: bool(one.missing_images))
            assert report.missing_images == {"app:1": f"app:1: not fetched: {NO_ROOM}"}
            node.runtime.is_full = False
            await node.reported(lambda one: one.images == ("app:1",))
            agent.cancel()

    on_virtual_time(main)


def test_containers_that_cannot_be_seen_are_left_alone_and_that_is_told(tmp_path: Path) -> None:
    async def main(clock: Clock) -> None:
        node = Node(clock, tmp_path)
        node.runtime = hidden = Hidden(clock)
        await node.write(Manifest(node=ME, generation=1, assignments=(assignment(A, workload()),)))
        async with asyncio.TaskGroup() as group:
            agent = group.create_task(node.agent())
            await node.reported(lambda one: states(one) == {A: AllocState.RUNNING})
            hidden.is_hidden = True
            await node.write(Manifest(node=ME, generation=2))
            report = await node.reported(lambda one: bool(one.problems))
            assert report.problems[0].startswith(
                "cannot see what runs here: containers: not listed"
            )
            assert states(report) == {A: AllocState.RUNNING}
            assert [each.phase for each in hidden.all()] == [Phase.RUNNING]
            hidden.is_hidden = False
            await node.reported(lambda one: not one.allocations and not one.problems)
            agent.cancel()

    on_virtual_time(main)


def test_a_journal_that_cannot_be_read_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "agent.json").mkdir()
    assert Journal(tmp_path).read(0.0) == Page()
    assert (tmp_path / "agent.json.bad").is_dir()


def test_what_was_reported_as_failed_stays_so_though_no_journal_took_it(tmp_path: Path) -> None:
    async def main(clock: Clock) -> None:
        node = Node(clock, tmp_path)
        node.runtime = FakeRuntime(clock)
        node.runtime.is_full = True
        await node.write(Manifest(node=ME, generation=1, assignments=(assignment(A, workload()),)))
        for _ in range(2):
            async with asyncio.TaskGroup() as group:
                agent = group.create_task(node.agent())
                await node.reported(lambda one: states(one) == {A: AllocState.FAILED})
                await clock.sleep(30)
                agent.cancel()
            node.runtime.is_full = False
            (tmp_path / "agent.json").unlink()
        assert states(await node.reported(lambda _: True)) == {A: AllocState.FAILED}
        assert node.runtime.all() == ()

    on_virtual_time(main)
