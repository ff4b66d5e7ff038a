"""What every runtime promises of exclusive containers, asked of the fake and of the real one."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from node_agent.runtime import Phase
from shared.clock import SystemClock
from shared.errors import FuseBurntError
from shared.model import AllocId, Workload
from tests.contract.runtimes import (
    IMAGE,
    WITHIN_S,
    Bench,
    assignment,
    ended,
    ground,
    only,
    said,
)
from tests.fakes.runtime import Behaviour, FakeRuntime, Timings
from tests.waiting import until

FOREVER = Behaviour()
# Long enough to make and start a container, on a busy machine too, before a fuse burns that nobody
# moves on.
SHORT_S, LONG_S = 2.0, 60.0


@pytest.fixture(scope="module", params=["fake", pytest.param("oci", marks=pytest.mark.real)])
def place(request: pytest.FixtureRequest) -> Iterator[Path | None]:
    with ground() if request.param == "oci" else nullcontext() as directory:
        yield directory


def from_now(seconds: float) -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) + seconds


async def run_exclusive(bench: Bench, behaviour: Behaviour = FOREVER) -> AllocId:
    """Create and start an exclusive container; return its id."""
    planned = bench.plan(behaviour, exclusive=True)
    await bench.runtime.create(planned)
    await bench.runtime.start(planned.id)
    return planned.id


async def test_an_exclusive_container_ends_by_itself_at_the_moment_told(bench: Bench) -> None:
    bench.runtime.keep_until(until_s := from_now(SHORT_S))
    await run_exclusive(bench)
    assert (await only(bench)).phase is Phase.RUNNING

    container = await ended(bench)
    assert container.exit_code == 137
    assert from_now(0) >= until_s


async def test_an_exclusive_container_lives_while_the_moment_is_moved_on(bench: Bench) -> None:
    bench.runtime.keep_until(first_s := from_now(SHORT_S))
    await run_exclusive(bench)
    bench.runtime.keep_until(second_s := first_s + SHORT_S)
    bench.runtime.keep_until(first_s)  # it never goes back

    await ended(bench)
    assert from_now(0) >= second_s


async def test_the_moment_is_for_those_that_are_made_later_too(bench: Bench) -> None:
    bench.runtime.keep_until(from_now(SHORT_S))
    bench.runtime.keep_until(until_s := from_now(2 * SHORT_S))
    await run_exclusive(bench)

    await ended(bench)
    assert from_now(0) >= until_s


async def test_an_exclusive_container_is_refused_until_a_moment_is_told(bench: Bench) -> None:
    planned = bench.plan(FOREVER, exclusive=True)
    with pytest.raises(FuseBurntError, match="fenced"):
        await bench.runtime.create(planned)
    bench.runtime.keep_until(from_now(-1.0))
    with pytest.raises(FuseBurntError, match="fenced"):
        await bench.runtime.create(planned)
    assert await bench.runtime.list() == ()

    bench.runtime.keep_until(from_now(LONG_S))
    await bench.runtime.create(planned)
    bench.restart_agent()
    with pytest.raises(FuseBurntError, match="fenced"):
        await bench.runtime.start(planned.id)

    bench.runtime.keep_until(from_now(LONG_S))
    await bench.runtime.start(planned.id)
    assert (await only(bench)).phase is Phase.RUNNING


async def test_an_exclusive_container_keeps_its_moment_when_the_agent_is_gone(
    bench: Bench,
) -> None:
    bench.runtime.keep_until(from_now(2 * SHORT_S))
    await run_exclusive(bench)
    bench.restart_agent()
    assert (await only(bench)).phase is Phase.RUNNING

    assert (await ended(bench)).exit_code == 137


async def test_an_agent_that_starts_moves_on_what_runs(bench: Bench) -> None:
    bench.runtime.keep_until(first_s := from_now(2 * SHORT_S))
    await run_exclusive(bench)
    bench.restart_agent()
    bench.runtime.keep_until(second_s := first_s + SHORT_S)

    await ended(bench)
    assert from_now(0) >= second_s


async def test_a_standby_whose_fuse_burnt_is_made_anew(bench: Bench) -> None:
    bench.runtime.keep_until(from_now(SHORT_S))
    planned = bench.plan(FOREVER, exclusive=True)
    await bench.runtime.create(planned)
    container = await ended(bench)
    assert (container.started, container.exit_code) == (0, 137)

    bench.runtime.keep_until(from_now(LONG_S))
    await bench.runtime.start(planned.id)
    container = await only(bench)
    assert (container.phase, container.started) == (Phase.RUNNING, 1)


async def test_other_containers_have_no_fuse(bench: Bench) -> None:
    planned = bench.plan(FOREVER)
    await bench.runtime.create(planned)
    await bench.runtime.start(planned.id)
    bench.runtime.keep_until(from_now(SHORT_S))
    await run_exclusive(bench)

    await until(lambda: phases(bench, [Phase.EXITED, Phase.RUNNING]), WITHIN_S)


async def test_an_exclusive_container_stops_with_its_own_code(bench: Bench) -> None:
    bench.runtime.keep_until(from_now(LONG_S))
    id_ = await run_exclusive(bench, Behaviour(exit_code=3, output=("ready",)))
    await said(bench, id_, "ready")
    await bench.runtime.stop(id_, WITHIN_S)
    assert (await only(bench)).exit_code == 3

    await bench.runtime.start(id_)
    assert (await only(bench)).started == 2


async def phases(bench: Bench, expected: list[Phase]) -> bool:
    """Say whether the containers' phases are these, in any order."""
    return sorted(container.phase for container in await bench.runtime.list()) == expected


class SlowClock(SystemClock):
    """A node's clock that loses 1 %."""

    def boot_s(self) -> float:
        return super().boot_s() * 0.99


async def test_the_fake_tells_when_a_container_runs_and_burns_by_its_own_clock() -> None:
    clock = SlowClock()
    fake = FakeRuntime(clock, timings=Timings(pull_s=0, create_s=0, start_s=0, remove_s=0))
    told: list[tuple[Phase, float]] = []
    fake.on_run(lambda _, phase: told.append((phase, clock.boot_s())))
    planned = assignment(Workload(image=IMAGE, exclusive=True))
    fake.keep_until(until_s := clock.boot_s() + SHORT_S)
    await fake.pull(IMAGE)
    await fake.create(planned)
    assert told == []
    await fake.start(planned.id)
    fake.agent_crash()

    await until(lambda: len(told) > 1, WITHIN_S)
    (began, began_s), (ended_, ended_s) = told
    assert (began, ended_) == (Phase.RUNNING, Phase.EXITED)
    assert began_s < until_s <= ended_s
