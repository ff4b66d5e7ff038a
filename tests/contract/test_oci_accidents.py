"""What is found after accidents: an agent that died between two steps, a reboot, bad programs."""

import asyncio
import os
import shutil
import signal
import subprocess
from pathlib import Path

import msgspec
import pytest

from node_agent.network.network import NOTHING, Asked, Attachment
from node_agent.oci.host import Programs, check_host
from node_agent.oci.mounts import unmount
from node_agent.oci.runtime import OciRuntime, Options
from node_agent.runtime import EXIT_UNKNOWN, Phase
from shared.clock import SystemClock
from shared.errors import RuntimeFailureError
from shared.model import AllocId, Assignment
from tests.contract.host_sandbox import CGROUP_PARENT, BareNetwork
from tests.contract.runtimes import OciBench, assignment, shell
from tests.waiting import until

pytestmark = pytest.mark.real

WITHIN_S = 10.0
CGROUPS = Path("/sys/fs/cgroup")


def sleeper() -> Assignment:
    return assignment(shell("echo began >> /kept; sleep 1000"))


def runs(kept: Path) -> int:
    """Return how often a `sleeper` has begun, by what it wrote."""
    return len(kept.read_text().splitlines()) if kept.exists() else 0


def with_programs(bench: OciBench, programs: Programs) -> OciRuntime:
    return bench.fresh(Options(cgroup_parent=CGROUP_PARENT, programs=programs))


def script(bench: OciBench, name: str, text: str) -> str:
    """Write a program that behaves badly; return its path."""
    file = bench.directory / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o700)
    return str(file)


def processes(bench: OciBench) -> list[str]:
    """Return the living processes that have the bench's directory in their command line."""
    lines = subprocess.run(
        ["ps", "-wweo", "stat=,args="], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    return [line for line in lines if str(bench.directory) in line and not line.startswith("Z")]


def traces(bench: OciBench, id_: AllocId) -> list[object]:
    """Return all that has the container's name, and all processes of the bench."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return [
        *(path for part in ("data", "run", "netns") for path in files(bench, part, id_)),
        *CGROUPS.glob(f"*/{CGROUP_PARENT}/{id_}"),
        *(line for line in mounts if id_ in line),
        *processes(bench),
    ]


def files(bench: OciBench, part: str, id_: AllocId) -> list[Path]:
    return list((bench.directory / part).rglob(f"*{id_}*"))


class _Cut(BareNetwork):
    """A network at which the agent dies: before the namespace is made, or just after."""

    def __init__(self, directory: Path, *, after: bool) -> None:
        super().__init__(directory)
        self._after = after

    async def attach(self, id_: AllocId, asked: Asked = NOTHING) -> Attachment:
        if self._after:
            await super().attach(id_, asked)
        raise asyncio.CancelledError


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("cleaner", ["remove", "list"])
async def test_an_agent_that_dies_at_the_network_leaves_nothing_for_ever(
    bench: OciBench, cleaner: str, *, after: bool
) -> None:
    planned = sleeper()
    dying = OciRuntime(
        bench.directory / "data",
        bench.directory / "run",
        _Cut(bench.directory / "netns", after=after),
        SystemClock(),
        Options(cgroup_parent=CGROUP_PARENT),
    )
    with pytest.raises(asyncio.CancelledError):
        await dying.create(planned)

    if cleaner == "remove":
        await bench.oci.remove(planned.id)
    assert await bench.oci.list() == ()
    assert traces(bench, planned.id) == []


@pytest.mark.parametrize("cleaner", ["remove", "list", "create"])
@pytest.mark.parametrize(
    "text",
    [
        'case "$*" in *create*) touch BEGAN; sleep 1000;; esac; exec crun "$@"',
        'case "$*" in *create*) crun "$@"; touch BEGAN; sleep 1000;; esac; exec crun "$@"',
    ],
    ids=["before", "after"],
)
async def test_an_agent_that_dies_while_the_container_is_made_leaves_nothing_for_ever(
    bench: OciBench, text: str, cleaner: str
) -> None:
    planned, began = sleeper(), bench.directory / "began"
    began.unlink(missing_ok=True)
    runtime = script(bench, "slow", text.replace("BEGAN", str(began)))
    dying = with_programs(bench, msgspec.structs.replace(check_host(), runtime=runtime))
    async with asyncio.TaskGroup() as group:
        making = group.create_task(dying.create(planned))
        await until(began.exists, WITHIN_S)
        making.cancel()
    assert processes(bench) != []

    if cleaner == "create":
        await bench.oci.create(planned)
        await bench.oci.start(planned.id)
        assert [one.phase for one in await bench.oci.list()] == [Phase.RUNNING]
        await bench.oci.remove(planned.id)
    if cleaner == "remove":
        await bench.oci.remove(planned.id)
    assert await bench.oci.list() == ()
    assert traces(bench, planned.id) == []


async def test_a_container_without_its_record_is_half_made_and_removed(bench: OciBench) -> None:
    planned = sleeper()
    await bench.oci.create(planned)
    await bench.oci.start(planned.id)
    (bench.directory / "data" / "containers" / planned.id / "container.json").unlink()
    bench.restart_agent()

    assert await bench.oci.list() == ()
    assert traces(bench, planned.id) == []


async def test_an_agent_that_dies_while_it_starts_a_container_again_can_repeat_that(
    bench: OciBench,
) -> None:
    """The new process exists, but the record still names the old one."""
    planned = sleeper()
    await bench.oci.create(planned)
    await bench.oci.start(planned.id)
    record = bench.directory / "data" / "containers" / planned.id / "container.json"
    old = record.read_bytes()
    await bench.oci.stop(planned.id, 0)
    await bench.oci.start(planned.id)
    record.write_bytes(old)
    bench.restart_agent()
    assert [one.phase for one in await bench.oci.list()] == [Phase.EXITED]

    await bench.oci.start(planned.id)
    (container,) = await bench.oci.list()
    assert (container.phase, container.started) == (Phase.RUNNING, 2)
    keepers = [line for line in processes(bench) if "conmon" in line]
    assert len(keepers) == 1


async def test_after_a_reboot_a_container_is_exited_and_starts_with_what_it_wrote(
    bench: OciBench,
) -> None:
    planned = sleeper()
    kept = bench.directory / "data" / "containers" / planned.id / "upper" / "kept"
    await bench.oci.create(planned)
    await bench.oci.start(planned.id)
    await until(lambda: runs(kept) == 1, WITHIN_S)
    await bench.oci.stop(planned.id, 0)
    await bench.oci.start(planned.id)  # so that there is an exit code, of a run long gone
    await until(lambda: runs(kept) == 2, WITHIN_S)
    await reboot(bench, planned.id)

    (container,) = await bench.oci.list()
    assert (container.phase, container.exit_code) == (Phase.EXITED, EXIT_UNKNOWN)
    await bench.oci.start(planned.id)
    (container,) = await bench.oci.list()
    assert (container.phase, container.started) == (Phase.RUNNING, 3)
    await until(lambda: runs(kept) == 3, WITHIN_S)


async def reboot(bench: OciBench, id_: AllocId) -> None:
    """Do what a power cut does: no processes, no mounts, no namespaces, an empty run_dir."""
    record = bench.oci._files(id_).read()  # noqa: SLF001 - conmon is not in the protocol
    assert record is not None
    os.kill(record.conmon_pid, signal.SIGKILL)
    os.kill(record.pid, signal.SIGKILL)
    await until(lambda: processes(bench) == [], WITHIN_S)
    unmount(bench.directory / "run" / "containers" / id_ / "rootfs")
    await bench.network.detach(id_)
    shutil.rmtree(bench.directory / "run")
    bench.oci._cgroups.remove(id_)  # noqa: SLF001 - a reboot leaves none
    bench.restart_agent()


@pytest.mark.parametrize(
    ("program", "text", "why"),
    [
        ("conmon", "echo oops >&2; exit 1", "conmon: oops"),
        ("conmon", "exit 0", "conmon: ended without a word"),
        ("runtime", "echo 'no more namespaces' >&2; exit 1", "no more namespaces"),
    ],
)
async def test_a_program_that_fails_has_the_last_word(
    bench: OciBench, program: str, text: str, why: str
) -> None:
    planned = sleeper()
    broken = msgspec.structs.replace(check_host(), **{program: script(bench, "broken", text)})
    with pytest.raises(RuntimeFailureError, match=f"^{planned.id}: {why}$"):
        await with_programs(bench, broken).create(planned)

    assert await bench.oci.list() == ()
    assert traces(bench, planned.id) == []


async def test_a_command_that_does_not_exist_is_named(bench: OciBench) -> None:
    planned = assignment(msgspec.structs.replace(shell(""), command=("/no/such",)))
    with pytest.raises(RuntimeFailureError, match="/no/such"):
        await bench.oci.create(planned)


async def test_an_id_that_would_lead_elsewhere_is_refused(bench: OciBench) -> None:
    elsewhere = msgspec.structs.replace(sleeper(), id=AllocId("../../etc"))
    with pytest.raises(RuntimeFailureError, match="cannot be the name"):
        await bench.oci.create(elsewhere)


async def test_runc_does_as_well(bench: OciBench) -> None:
    runc = shutil.which("runc")
    assert runc is not None, "apt install runc"
    by_runc = with_programs(bench, msgspec.structs.replace(check_host(), runtime=runc))
    planned = assignment(shell("trap 'exit 5' TERM; echo ready; sleep 1000 & wait"))
    await by_runc.create(planned)
    await by_runc.start(planned.id)
    async for line in by_runc.logs(planned.id, follow=True, tail=None):
        if line.text == "ready":
            break
    assert (await by_runc.exec(planned.id, ("sh", "-c", "echo in"), WITHIN_S)).output == "in\n"
    assert (await by_runc.exec(planned.id, ("sleep", "1000"), 0.3)).exit_code == 124
    await by_runc.stop(planned.id, WITHIN_S)
    assert [one.exit_code for one in await by_runc.list()] == [5]

    await by_runc.start(planned.id)
    assert [one.started for one in await by_runc.list()] == [2]
    await by_runc.remove(planned.id)
    assert traces(bench, planned.id) == []
    by_runc.close()
