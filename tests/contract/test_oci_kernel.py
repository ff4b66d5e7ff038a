"""What the real runtime makes of the kernel: limits, rights, what is hidden, and what is left."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from deploy.lab.images import build_busybox
from node_agent.oci import defaults
from node_agent.oci.images import load_image
from node_agent.runtime import Phase
from shared.model import AllocId, Assignment, Resources, Workload
from tests.contract.host_sandbox import CGROUP_PARENT
from tests.contract.oci_inside import exited, inside, output, run, written
from tests.contract.runtimes import IMAGE, OciBench, assignment, shell
from tests.waiting import until

pytestmark = pytest.mark.real

WITHIN_S = 10.0
CGROUPS = Path("/sys/fs/cgroup")
NOBODY = "hafen.local/nobody:1"


def bits(names: tuple[str, ...]) -> set[int]:
    """Return the numbers of capabilities.

    Source: linux/capability.h.
    """
    numbers = {"CHOWN": 0, "DAC_OVERRIDE": 1, "FOWNER": 3, "FSETID": 4, "KILL": 5, "SETGID": 6}
    numbers |= {"SETUID": 7, "SETPCAP": 8, "NET_BIND_SERVICE": 10, "NET_RAW": 13, "SYS_CHROOT": 18}
    numbers |= {"MKNOD": 27, "AUDIT_WRITE": 29, "SETFCAP": 31}
    return {numbers[name.removeprefix("CAP_")] for name in names}


def status(text: str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


async def test_rights_are_few_for_the_program_and_for_commands(bench: OciBench) -> None:
    """The second container's filter comes compiled from the first's; both are held to it."""
    filters = []
    for _ in range(2):
        id_ = await run(bench, shell("cat /proc/self/status; sleep 1000"))
        program = status("\n".join(await log_of(bench, id_, "nonvoluntary_ctxt_switches")))
        command = status(await inside(bench, id_, "cat /proc/self/status"))
        compiled = bench.directory / "run" / "runtime" / id_ / "seccomp.bpf"
        filters.append(compiled.read_bytes())

        mask = sum(1 << bit for bit in bits(defaults.CAPABILITIES))
        for who in (program, command):
            assert (who["NoNewPrivs"], who["Seccomp"]) == ("1", "2")
            assert {int(who[name], 16) for name in ("CapBnd", "CapEff", "CapPrm")} == {mask}
            assert int(who["CapAmb"], 16) == 0
    assert len(filters[0]) > 1000
    assert filters[0] == filters[1]


async def log_of(bench: OciBench, id_: AllocId, last: str) -> list[str]:
    """Return the container's output up to the line that begins with `last`."""
    lines = []
    async for line in bench.oci.logs(id_, follow=True, tail=None):
        lines.append(line.text)
        if line.text.startswith(last):
            break
    return lines


async def test_what_tells_of_the_host_is_hidden_and_what_changes_it_is_read_only(
    bench: OciBench,
) -> None:
    id_ = await run(bench, shell("sleep 1000"))

    assert await inside(bench, id_, "cat /proc/timer_list /proc/keys | wc -c") == "0\n"
    assert "Read-only" in await inside(bench, id_, "echo 1 > /proc/sys/kernel/panic")
    assert "Read-only" in await inside(bench, id_, "mkdir /sys/fs/cgroup/pids/mine")
    assert await inside(bench, id_, "ls /sys/firmware") == ""


async def test_limits_are_in_the_cgroup_and_visible_inside(bench: OciBench) -> None:
    limits = Resources(cpu_millis=250, memory_bytes=32 << 20, pids=50)
    workload = shell("sleep 1000", limits=limits, reservations=Resources(cpu_millis=500))
    id_ = await run(bench, workload)
    files = (
        *("memory/memory.limit_in_bytes", "pids/pids.max", "cpu/cpu.cfs_quota_us"),
        *("cpu/cpu.cfs_period_us", "cpu/cpu.shares"),
    )

    seen = await inside(bench, id_, "".join(f"cat /sys/fs/cgroup/{name}; " for name in files))
    assert seen.split() == [str(32 << 20), "50", "25000", "100000", "512"]


async def test_without_a_limit_a_fork_bomb_still_ends_somewhere(bench: OciBench) -> None:
    id_ = await run(bench, shell("sleep 1000"))

    assert await inside(bench, id_, "cat /sys/fs/cgroup/pids/pids.max") == "4096\n"


async def test_a_container_over_its_memory_limit_is_ended_and_says_so(bench: OciBench) -> None:
    hungry = shell("exec tail /dev/zero", limits=Resources(memory_bytes=16 << 20))
    id_ = await run(bench, hungry)
    await exited(bench, id_)

    (container,) = await bench.oci.list()
    assert (container.exit_code, container.oom_killed) == (137, True)


async def test_the_environment_is_the_images_with_the_services_and_nothing_of_ours(
    bench: OciBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_TOKEN", "secret")
    workload = shell("env; cat /etc/hostname; hostname", environment={"COLOUR": "blue"})
    planned = assignment(workload)
    await bench.oci.create(planned)
    await bench.oci.start(planned.id)
    await exited(bench, planned.id)

    name = f"web-{planned.slot}"
    wanted = {"PATH=/bin", f"HOSTNAME={name}", "COLOUR=blue", "HOME=/root", name}
    seen = set(await written(bench, planned.id))
    assert wanted <= seen
    assert not {line for line in seen if "secret" in line}


async def test_a_user_of_the_image_runs_without_capabilities_and_sees_its_files(
    bench: OciBench,
) -> None:
    archive = bench.directory / "nobody.tar"
    build_busybox(archive, NOBODY, {"User": "nobody", "Entrypoint": ["/bin/echo", "-n"]})
    await load_image(bench.directory / "data", archive)
    script = "id -u; cat /www/health; grep CapEff /proc/self/status; httpd -p 80 && echo listening"
    workload = Workload(image=NOBODY, entrypoint=("/bin/sh", "-c", script))

    assert await output(bench, workload) == [
        "65534",
        "ok",
        "CapEff:\t0000000000000000",
        "listening",
    ]


async def test_a_command_follows_the_images_entrypoint(bench: OciBench) -> None:
    archive = bench.directory / "echo.tar"
    image = "hafen.local/echo:1"
    build_busybox(archive, image, {"Entrypoint": ["/bin/echo", "from"], "Cmd": ["image"]})
    await load_image(bench.directory / "data", archive)

    assert await output(bench, Workload(image=image)) == ["from image"]
    assert await output(bench, Workload(image=image, command=("service",))) == ["from service"]
    assert await output(bench, Workload(image=image, entrypoint=("/bin/echo",))) == [""]


async def test_the_images_stop_signal_is_the_one_that_is_sent(bench: OciBench) -> None:
    archive = bench.directory / "usr1.tar"
    image = "hafen.local/usr1:1"
    build_busybox(archive, image, {"StopSignal": "SIGUSR1"})
    await load_image(bench.directory / "data", archive)
    id_ = await run(bench, shell("trap 'exit 9' USR1; echo ready; sleep 1000 & wait", image=image))
    await log_of(bench, id_, "ready")
    await bench.oci.stop(id_, WITHIN_S)

    assert [one.exit_code for one in await bench.oci.list()] == [9]


async def test_the_example_serves_its_name_and_stops_at_once(bench: OciBench) -> None:
    planned = assignment(Workload(image=IMAGE))
    await bench.oci.create(planned)
    await bench.oci.start(planned.id)
    ask = "until wget -qO- http://127.0.0.1/ 2>/dev/null; do sleep 0.05; done"

    assert await inside(bench, planned.id, ask) == f"web-{planned.slot} 192.0.2.1\n"
    assert await inside(bench, planned.id, "wget -qO- http://127.0.0.1/health") == "ok\n"
    await bench.oci.stop(planned.id, WITHIN_S)
    assert [one.exit_code for one in await bench.oci.list()] == [0]


async def test_what_a_container_wrote_survives_its_restart(bench: OciBench) -> None:
    id_ = await run(bench, shell("cat /kept || echo new > /kept"))
    await exited(bench, id_)
    await bench.oci.start(id_)
    await exited(bench, id_)

    assert (await written(bench, id_))[-1] == "new"


async def test_nothing_is_left_of_a_removed_container(bench: OciBench) -> None:
    id_ = await run(bench, shell("sleep 1000 & sleep 1000"))
    record = bench.oci._files(id_).read()  # noqa: SLF001 - which processes it had is nobody else's business
    assert record is not None
    await bench.oci.remove(id_)

    assert traces(bench, id_) == []
    assert not alive(record.pid)
    assert not alive(record.conmon_pid)


def traces(bench: OciBench, id_: str) -> list[Path | str]:
    """Return the files, cgroups and mounts that have the container's name."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return [
        *bench.directory.rglob(f"*{id_}*"),
        *CGROUPS.glob(f"*/{CGROUP_PARENT}/{id_}"),
        *(line for line in mounts if id_ in line),
    ]


def alive(pid: int) -> bool:
    """Say whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("verb", ["stop", "remove"])
async def test_a_frozen_container_can_be_ended(bench: OciBench, verb: str) -> None:
    id_ = await run(bench, shell("sleep 1000"))
    freezer = CGROUPS / "freezer" / CGROUP_PARENT / id_ / "freezer.state"
    freezer.write_text("FROZEN")
    await until(lambda: freezer.read_text() == "FROZEN\n", WITHIN_S)
    if verb == "stop":
        await bench.oci.stop(id_, 0.1)
        assert [one.exit_code for one in await bench.oci.list()] == [137]
    await bench.oci.remove(id_)

    assert await bench.oci.list() == ()


async def test_a_frozen_container_gets_its_chance_to_end_by_itself(bench: OciBench) -> None:
    id_ = await run(bench, shell("trap 'sleep 0.3; exit 4' TERM; echo ready; sleep 1000 & wait"))
    await log_of(bench, id_, "ready")
    freezer = CGROUPS / "freezer" / CGROUP_PARENT / id_ / "freezer.state"
    freezer.write_text("FROZEN")
    await until(lambda: freezer.read_text() == "FROZEN\n", WITHIN_S)
    await bench.oci.stop(id_, WITHIN_S)

    assert [one.exit_code for one in await bench.oci.list()] == [4]


async def test_containers_are_made_and_removed_side_by_side(bench: OciBench) -> None:
    planned = [assignment(shell("sleep 1000")) for _ in range(8)]

    async def whole_life(one: Assignment) -> None:
        await bench.oci.create(one)
        await bench.oci.start(one.id)
        assert (await bench.oci.exec(one.id, ("hostname",), WITHIN_S)).output == (
            f"web-{one.slot}\n"
        )
        await bench.oci.remove(one.id)

    async with asyncio.TaskGroup() as group:
        for one in planned:
            group.create_task(whole_life(one))
        await bench.oci.list()  # must leave alone what is half-made on purpose

    assert await bench.oci.list() == ()


async def test_a_command_past_its_deadline_leaves_no_process_inside(bench: OciBench) -> None:
    id_ = await run(bench, shell("sleep 1000"))
    await bench.oci.exec(id_, ("/bin/sh", "-c", "sleep 777 & sleep 778; true"), 0.3)

    assert "77" not in await inside(bench, id_, "ps | grep 'sleep 77[78]' | grep -v grep")


async def test_a_container_whose_keeper_was_killed_runs_on_and_its_end_is_noticed(
    bench: OciBench,
) -> None:
    id_ = await run(bench, shell("sleep 1000"))
    record = bench.oci._files(id_).read()  # noqa: SLF001 - conmon is not in the protocol
    assert record is not None
    heard: list[str] = []
    bench.oci.on_exit(lambda: heard.append("exit"))
    os.kill(record.conmon_pid, signal.SIGKILL)
    await until(lambda: len(heard) == 1, WITHIN_S)
    (container,) = await bench.oci.list()
    assert container.phase is Phase.RUNNING

    bench.kill(id_)
    await until(lambda: len(heard) == 2, WITHIN_S)
    (container,) = await bench.oci.list()
    assert (container.phase, container.exit_code) == (Phase.EXITED, 255)
