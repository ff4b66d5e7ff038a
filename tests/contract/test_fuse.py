"""Exclusive containers on a real kernel: they end in time whatever else is dead or stands still."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from node_agent.oci.files import Record
from node_agent.oci.host import check_host
from node_agent.oci.runtime import Options
from node_agent.process import is_alive
from node_agent.runtime import Container, Phase
from shared.model import AllocId, Resources
from tests.contract.host_sandbox import CGROUP_PARENT
from tests.contract.runtimes import OciBench, assignment, shell
from tests.waiting import until

pytestmark = pytest.mark.real

WITHIN_S = 10.0
LONG_S = 60.0
# Long enough to make and start a container, on a busy machine too.
SHORT_S = 3.0
CGROUPS = Path("/sys/fs/cgroup")
# What the kernel must find: a child, a process in a session of its own, one that ignores all.
STUBBORN = "trap '' TERM HUP INT; sleep 1000 & setsid sleep 1001 & (trap '' TERM; sleep 1002) & "


def from_now(seconds: float) -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) + seconds


async def run(bench: OciBench, text: str, for_s: float = LONG_S, **more: object) -> AllocId:
    """Run a shell script as an exclusive container."""
    bench.oci.keep_until(from_now(for_s))
    planned = assignment(shell(text, exclusive=True, **more), epoch=4711)
    await bench.oci.create(planned)
    await bench.oci.start(planned.id)
    return planned.id


def record(bench: OciBench, id_: AllocId) -> Record:
    file = bench.directory / "data" / "containers" / id_ / "container.json"
    return msgspec.json.decode(file.read_bytes(), type=Record)


def living(id_: AllocId) -> set[int]:
    """Return the container's processes."""
    return {
        int(line)
        for file in CGROUPS.glob(f"*/{CGROUP_PARENT}/{id_}/cgroup.procs")
        for line in file.read_text().split()
    }


async def only(bench: OciBench) -> Container:
    (container,) = await bench.oci.list()
    return container


async def has_exited(bench: OciBench) -> bool:
    return (await only(bench)).phase is Phase.EXITED


async def inside(bench: OciBench, id_: AllocId, text: str) -> str:
    return (await bench.oci.exec(id_, ("/bin/sh", "-c", text), WITHIN_S)).output


def fuses(bench: OciBench) -> list[str]:
    """Return the living fuses' processes."""
    lines = subprocess.run(
        ["ps", "-wweo", "stat=,args="], check=True, capture_output=True, text=True
    ).stdout.splitlines()
    mine = [line for line in lines if "fuse_main.py" in line and str(bench.directory) in line]
    return [line for line in mine if not line.startswith("Z")]


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGTERM, signal.SIGHUP, None])
async def test_all_is_gone_at_the_moment_though_nobody_of_ours_works(
    bench: OciBench, number: int | None
) -> None:
    soon_s = from_now(SHORT_S)
    id_ = await run(bench, STUBBORN + "sleep 1003", for_s=SHORT_S)
    await until(lambda: len(living(id_)) >= 4, WITHIN_S)
    noted = record(bench, id_)
    os.kill(noted.conmon_pid, signal.SIGKILL)
    bench.oci.close()  # nobody watches
    for pid in (noted.fuse_pid, noted.fuse_init_pid):
        if number is not None:
            os.kill(pid, number)

    await until(lambda: not living(id_), WITHIN_S)
    assert from_now(0) >= soon_s
    bench.restart_agent()
    assert (await only(bench)).phase is Phase.EXITED


@pytest.mark.parametrize("part", ["fuse_pid", "fuse_init_pid"])
async def test_a_container_does_not_outlive_its_fuse(bench: OciBench, part: str) -> None:
    id_ = await run(bench, STUBBORN + "sleep 1003")
    await until(lambda: len(living(id_)) >= 4, WITHIN_S)
    os.kill(getattr(record(bench, id_), part), signal.SIGKILL)

    await until(lambda: has_exited(bench), WITHIN_S)
    assert not living(id_)
    assert (await only(bench)).exit_code == 137


async def test_what_the_first_process_leaves_behind_ends_with_it(bench: OciBench) -> None:
    id_ = await run(bench, STUBBORN + "sleep 0.3; exit 3")
    heard: list[bool] = []
    bench.oci.on_exit(lambda: heard.append(bool(living(id_))))

    await until(lambda: bool(heard), WITHIN_S)
    assert heard == [False]
    assert (await only(bench)).exit_code == 3


async def test_a_container_has_not_exited_while_anything_of_it_lives(bench: OciBench) -> None:
    id_ = await run(bench, STUBBORN + "sleep 1; exit 3")
    bench.oci.close()  # nobody watches
    bench.oci = bench.fresh()
    file = bench.directory / "data" / "containers" / id_ / "exit" / id_
    first = record(bench, id_).pid
    await until(lambda: file.exists() or not is_alive(first), WITHIN_S)
    assert living(id_)

    assert (await only(bench)).phase is Phase.RUNNING
    await until(lambda: has_exited(bench), WITHIN_S)
    assert not living(id_)


async def test_nothing_is_left_when_stop_returns(bench: OciBench) -> None:
    id_ = await run(bench, STUBBORN + "trap 'exit 4' TERM; sleep 1003 & wait")
    await until(lambda: len(living(id_)) >= 5, WITHIN_S)  # the last one is begun after the trap
    await bench.oci.stop(id_, WITHIN_S)

    assert not living(id_)
    assert fuses(bench) == []
    assert (await only(bench)).exit_code == 4


async def test_removing_leaves_no_fuse_and_a_start_makes_one(bench: OciBench) -> None:
    id_ = await run(bench, "sleep 1000")
    assert len(fuses(bench)) == 2
    await bench.oci.stop(id_, 0)
    await bench.oci.start(id_)
    assert len(fuses(bench)) == 2

    await bench.oci.remove(id_)
    assert fuses(bench) == []


async def test_an_agent_that_dies_while_an_exclusive_container_is_made_leaves_no_fuse(
    bench: OciBench,
) -> None:
    script = bench.directory / "slow"
    began = bench.directory / "began"
    began.unlink(missing_ok=True)
    text = f'case "$*" in *create*) touch {began}; sleep 1000;; esac; exec crun "$@"'
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o700)
    slow = msgspec.structs.replace(check_host(), runtime=str(script))
    dying = bench.fresh(Options(cgroup_parent=CGROUP_PARENT, programs=slow))
    dying.keep_until(from_now(LONG_S))
    async with asyncio.TaskGroup() as group:
        making = group.create_task(dying.create(assignment(shell("true", exclusive=True))))
        await until(began.exists, WITHIN_S)
        making.cancel()
    dying.close()
    assert len(fuses(bench)) == 2

    assert await bench.oci.list() == ()
    assert fuses(bench) == []


async def test_a_command_inside_ends_with_the_container(bench: OciBench) -> None:
    id_ = await run(bench, "sleep 1000")
    await inside(bench, id_, "setsid sleep 1001 >/dev/null 2>&1 &")
    await until(lambda: len(living(id_)) == 2, WITHIN_S)
    os.kill(record(bench, id_).fuse_pid, signal.SIGKILL)

    await until(lambda: has_exited(bench), WITHIN_S)
    assert not living(id_)


async def test_the_epoch_is_in_the_environment_and_in_a_file_that_cannot_be_written(
    bench: OciBench,
) -> None:
    id_ = await run(bench, "sleep 1000", environment={"HAFEN_EPOCH": "1"})

    assert await inside(bench, id_, "echo $HAFEN_EPOCH; cat /run/hafen/epoch") == "4711\n4711\n"
    assert "Read-only" in await inside(bench, id_, "echo 1 > /run/hafen/epoch")


async def test_the_container_cannot_reach_the_host_through_its_process_1(bench: OciBench) -> None:
    id_ = await run(bench, "sleep 1000")

    assert "denied" in await inside(bench, id_, "ls /proc/1/root/")
    assert "denied" in await inside(bench, id_, "cat /proc/1/environ")
    await inside(bench, id_, "kill -9 1; kill -TERM 1; kill -STOP 1; true")
    assert (await only(bench)).phase is Phase.RUNNING


async def test_orphans_are_reaped(bench: OciBench) -> None:
    id_ = await run(bench, "(sleep 0.1 & exec true); exec sleep 1000")
    init = record(bench, id_).fuse_init_pid
    children = Path(f"/proc/{init}/task/{init}/children")

    await until(lambda: len(living(id_)) == 1, WITHIN_S)
    await until(lambda: children.read_text() == "", WITHIN_S)


async def test_memory_that_ran_out_is_told_from_a_fuse(bench: OciBench) -> None:
    limits = Resources(memory_bytes=16 << 20)
    await run(bench, "tail -c 64000000 /dev/zero | tail; exit 137", limits=limits)

    await until(lambda: has_exited(bench), WITHIN_S)
    assert (await only(bench)).oom_killed


async def test_only_root_may_move_a_fuse_on_and_a_long_name_does_not_matter(
    bench: OciBench,
) -> None:
    planned = assignment(shell("sleep 1000", exclusive=True))
    long = msgspec.structs.replace(planned, id=AllocId("x" * 200))
    bench.oci.keep_until(first_s := from_now(SHORT_S))
    await bench.oci.create(long)
    await bench.oci.start(long.id)
    bundle = bench.directory / "run" / "containers" / long.id
    assert (bundle / "fuse.sock").stat().st_mode & 0o777 == 0o600
    assert bundle.stat().st_mode & 0o777 == 0o700

    bench.oci.keep_until(second_s := first_s + 1.0)
    await until(lambda: has_exited(bench), WITHIN_S)
    assert from_now(0) >= second_s


async def test_a_fuse_takes_no_order_that_is_none(bench: OciBench) -> None:
    id_ = await run(bench, "sleep 1000", for_s=SHORT_S)
    path = bench.directory / "run" / "containers" / id_ / "fuse.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        for order in (b"", b"x", b"\xff" * 7, b"\xff" * 9, b"\0" * 8):
            sock.sendto(order, str(path))

    await until(lambda: has_exited(bench), WITHIN_S)


async def test_a_moment_told_while_fuses_are_gone_or_stand_still_hurts_nobody(
    bench: OciBench,
) -> None:
    id_ = await run(bench, "sleep 1000", for_s=SHORT_S)
    noted = record(bench, id_)
    os.kill(noted.fuse_pid, signal.SIGSTOP)
    start_s = from_now(SHORT_S)
    for step in range(2000):  # more than a socket holds
        bench.oci.keep_until(start_s + step / 1e6)

    await until(lambda: has_exited(bench), WITHIN_S)
    bench.oci.keep_until(from_now(LONG_S))
