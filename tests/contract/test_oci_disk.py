"""A disk that is full or read-only: what needs it fails alone and says why, and works afterwards.

The runtime's two directories are small file systems of their own, as a node's disk is.
"""

import subprocess
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from node_agent.oci.host import check_host
from node_agent.oci.runtime import Options
from node_agent.runtime import Phase
from shared.errors import RuntimeFailureError
from shared.model import AllocId, Assignment, Mount, MountedFile, MountKind
from tests.contract.host_sandbox import CGROUP_PARENT
from tests.contract.runtimes import (
    UNKNOWN_IMAGE,
    WITHIN_S,
    OciBench,
    assignment,
    full,
    shell,
    small_ground,
)
from tests.waiting import until

pytestmark = pytest.mark.real

SECRET = MountedFile(content="shop/pass/1", target="/run/pass", is_secret=True)
CONFIG = MountedFile(content="shop/motd/1", target="/etc/motd")
VOLUME = Mount(kind=MountKind.VOLUME, source="kept", target="/kept")
# Of a page each: a full disk has no room for the second.
GIVEN = {SECRET.content: b"s3cret" * 1000, CONFIG.content: b"hello" * 1000}


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    with small_ground() as directory:
        yield directory


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """Make a file system refuse every change, as one does after an error of its disk."""
    _mount("-o", "remount,bind,ro", directory)
    try:
        yield
    finally:
        _mount("-o", "remount,bind,rw", directory)


def sleeper(**more: object) -> Assignment:
    return assignment(shell("sleep 1000", **more))


async def refusal(action: Awaitable[object]) -> str:
    with pytest.raises(RuntimeFailureError) as refused:
        await action
    return str(refused.value)


async def phases(bench: OciBench) -> dict[AllocId, Phase]:
    return {one.id: one.phase for one in await bench.oci.list()}


def exit_file(bench: OciBench, planned: Assignment) -> Path:
    return bench.directory / "data" / "containers" / planned.id / "exit" / planned.id


async def runs(bench: OciBench, planned: Assignment) -> None:
    """See that a container can be made and run now, and take it away."""
    await bench.oci.create(planned, GIVEN)
    await bench.oci.start(planned.id)
    assert [one.phase for one in await bench.oci.list() if one.id == planned.id] == [Phase.RUNNING]
    await bench.oci.remove(planned.id)


@pytest.mark.parametrize("part", ["data", "run"])
async def test_a_container_that_finds_no_room_fails_and_says_what_lacks_it(
    bench: OciBench, part: str
) -> None:
    planned = sleeper(files=(SECRET, CONFIG), mounts=(VOLUME,))
    with full(bench.directory / part):
        said = await refusal(bench.oci.create(planned, GIVEN))
        assert await bench.oci.list() == ()

    what = "its configs" if part == "data" else "its secrets"
    assert said == f"{planned.id}: not made: No space left on device ({what})"
    await runs(bench, planned)


async def test_what_runs_on_a_full_disk_can_be_looked_into_stopped_and_removed(
    bench: OciBench,
) -> None:
    planned = sleeper(mounts=(VOLUME,))
    await bench.oci.create(planned)
    await bench.oci.start(planned.id)
    with full(bench.directory / "data"):
        assert (await bench.oci.exec(planned.id, ("echo", "in"), WITHIN_S)).output == "in\n"
        await bench.oci.stop(planned.id, 0)
        await bench.oci.remove(planned.id)
        assert await bench.oci.list() == ()
        await bench.oci.remove_volume("kept")
    assert bench.oci.volumes() == ()


async def test_a_disk_that_takes_no_change_fails_each_action_and_what_is_there_stays(
    bench: OciBench,
) -> None:
    planned, new = sleeper(mounts=(VOLUME,)), sleeper()
    await bench.oci.create(planned)
    await bench.oci.start(planned.id)
    bench.kill(planned.id)
    await until(exit_file(bench, planned).exists, WITHIN_S)
    with read_only(bench.directory / "data"):
        said = [
            await refusal(bench.oci.create(new)),
            await refusal(bench.oci.start(planned.id)),
            await refusal(bench.oci.remove(planned.id)),
            await refusal(bench.oci.pull(UNKNOWN_IMAGE)),
        ]
        assert await phases(bench) == {planned.id: Phase.EXITED}
    assert said == [
        f"{new.id}: not made: Read-only file system (its files)",
        f"{planned.id}: not started: Read-only file system (its files)",
        f"{planned.id}: not removed: Read-only file system (its files)",
        f"{UNKNOWN_IMAGE}: not fetched: Read-only file system (images)",
    ]


async def test_a_command_that_finds_no_room_fails_and_the_container_runs_on(
    bench: OciBench,
) -> None:
    planned = sleeper()
    await bench.oci.create(planned)
    await bench.oci.start(planned.id)
    with full(bench.directory / "run"):
        said = await refusal(bench.oci.exec(planned.id, ("echo", "in"), WITHIN_S))
    assert said.startswith(f"{planned.id}: no command run in it: No space left on device")
    assert await phases(bench) == {planned.id: Phase.RUNNING}


@pytest.mark.parametrize("program", ["conmon", "runtime"])
async def test_a_program_that_is_gone_fails_what_needs_it(bench: OciBench, program: str) -> None:
    """As while a package is being replaced by its next version."""
    planned = sleeper()
    broken = msgspec.structs.replace(check_host(), **{program: "/usr/bin/absent"})
    options = Options(cgroup_parent=CGROUP_PARENT, programs=broken)
    with pytest.raises(RuntimeFailureError, match=f"^{planned.id}: "):
        await bench.fresh(options).create(planned)
    assert await bench.oci.list() == ()
