"""The lab on the real kernel: hosts that come, vanish, return, and leave nothing."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from deploy.lab import cgroups, command, network
from deploy.lab.cgroups import is_alive
from deploy.lab.ground import leftovers
from deploy.lab.lab import Lab
from deploy.lab.plan import RANGE, address_of
from shared.errors import HostError, NotFoundError
from tests.forked import run
from tests.waiting import until

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
# The shortest program of a host; hafen itself has tests of its own.
IDLE = ("sleep", "600")
UP_S = 60.0


@pytest.fixture
async def cleaned() -> AsyncIterator[AsyncExitStack]:
    """Take down, also after a failure, every lab that is registered here."""
    async with AsyncExitStack() as stack:
        yield stack


def lab(cleaned: AsyncExitStack, name: str) -> Lab:
    made = Lab(f"t{os.getpid() % 100000}-{name}")
    cleaned.push_async_callback(made.down)
    return made


async def output(lab: Lab, where: str, *argv: str) -> str:
    process = await lab.run_in(where, argv, stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
    out, _ = await process.communicate()
    return out.decode()


async def reaches(lab: Lab, where: str, address: str) -> bool:
    argv = ["busybox", "ping", "-c1", "-W1", address]
    process = await lab.run_in(where, argv, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    return await process.wait() == 0


async def until_reached(lab: Lab, where: str, address: str) -> None:
    """Wait until a host answers: the first packets may be lost, or late."""
    await until(lambda: reaches(lab, where, address), 20, poll_s=0.1)


async def states(lab: Lab) -> list[str]:
    return [host.state for host in (await lab.status()).hosts]


async def test_hosts_come_up_apart_and_go_without_a_trace(cleaned: AsyncExitStack) -> None:
    one = lab(cleaned, "a")
    await one.up(3, labels={"node-2": {"zone": "b"}}, program=IDLE)

    assert one.nodes == ("node-1", "node-2", "node-3")
    assert await states(one) == ["up", "up", "up"]
    assert (await output(one, "node-2", "hostname")).strip() == "node-2"
    assert 'zone = "b"' in await output(one, "node-2", "cat", "/etc/hafen/hafen.toml")
    await until_reached(one, "node-1", "node-3")
    await until_reached(one, "client", one.address("node-2"))
    await output(one, "node-1", "touch", "/var/lib/hafen/mine", "/run/mine", "/tmp/mine")
    # Not the whole of /tmp: a checkout that lies there is seen, else its programs would not run.
    assert await output(one, "node-2", "ls", "/var/lib/hafen", "/run") == (
        "/run:\n\n/var/lib/hafen:\n"
    )
    assert "mine" not in await output(one, "node-2", "ls", "/tmp")
    await until(lambda: bool(running(one, "node-1")), 5)
    processes = await output(one, "node-1", "ps", "ax", "-o", "comm=")
    assert "sleep" in processes
    assert len(processes.split()) == 4  # tini, the respawner, sleep, ps: nobody else's
    assert leftovers(one.name) != []
    assert await one.down()
    assert leftovers(one.name) == []
    assert not await one.down()


async def test_nothing_outside_can_be_reached_from_a_host_nor_a_host_from_outside(
    cleaned: AsyncExitStack,
) -> None:
    one = lab(cleaned, "a")
    await one.up(1, program=IDLE)
    asked = ["ip", "route", "get", "192.0.2.1"]  # asks the kernel; sends nothing

    for where in ("node-1", "client"):
        process = await one.run_in(where, asked, stdout=DEVNULL, stderr=PIPE)
        _, said = await process.communicate()
        assert "Network is unreachable" in said.decode()
        assert "default" not in await output(one, where, "ip", "route")
    for address in (one.address("node-1"), str(RANGE[-2])):
        with pytest.raises(HostError, match=r"Invalid argument|unreachable"):
            await command.run(["ip", "route", "get", address])


async def test_a_host_without_power_vanishes_and_returns_with_its_disk(
    cleaned: AsyncExitStack,
) -> None:
    one = lab(cleaned, "a")
    await one.up(2, program=IDLE)
    await until_reached(one, "client", one.address("node-1"))
    await output(one, "node-1", "touch", "/var/lib/hafen/disk", "/run/memory")
    mac = await output(one, "node-1", "cat", "/sys/class/net/eth0/address")
    places = cgroups.find(f"{one.name}/node-1")
    await until(lambda: bool(running(one, "node-1")), 5)
    before = cgroups.processes(places)

    await one.kill("node-1")

    assert await states(one) == ["off", "up"]
    assert len(before) >= 3
    assert not any(is_alive(pid) for pid in before)
    assert not any(place.exists() for place in places)
    assert not await reaches(one, "client", one.address("node-1"))
    await one.kill("node-1")  # twice is once
    with pytest.raises(HostError, match="node-1 is off: `hafen lab boot node-1"):
        await one.run_in("node-1", ["true"])

    await one.boot("node-1")

    assert await states(one) == ["up", "up"]
    await until_reached(one, "client", one.address("node-1"))
    assert await output(one, "node-1", "cat", "/sys/class/net/eth0/address") == mac
    assert await output(one, "node-1", "ls", "/var/lib/hafen", "/run") == (
        "/run:\n\n/var/lib/hafen:\ndisk\n"
    )
    with pytest.raises(HostError, match="node-1 is up"):
        await one.boot("node-1")


async def test_a_host_whose_program_ends_starts_it_again(cleaned: AsyncExitStack) -> None:
    one = lab(cleaned, "a")
    await one.up(1, program=("sh", "-c", "echo x >> /var/lib/hafen/starts"))
    starts = one.paths.disk("node-1") / "starts"

    await until(lambda: starts.exists() and len(starts.read_text().split()) >= 3, 10)


async def test_a_cut_host_is_unreachable_runs_on_and_can_be_healed(
    cleaned: AsyncExitStack,
) -> None:
    one = lab(cleaned, "a")
    await one.up(2, program=IDLE)
    await until(lambda: bool(running(one, "node-2")), 5)
    before = running(one, "node-2")

    await one.cut("node-2")

    assert await states(one) == ["up", "cut"]
    assert not await reaches(one, "node-1", "node-2")
    assert running(one, "node-2") == before
    await one.heal("node-2")
    assert await states(one) == ["up", "up"]
    await until_reached(one, "node-1", "node-2")


def running(lab: Lab, node: str, argv: tuple[str, ...] = IDLE) -> set[int]:
    """Return the pids of a program in a host."""
    found = cgroups.processes(cgroups.find(f"{lab.name}/{node}"))
    return {pid for pid in found if command_line_of(pid) == argv}


def command_line_of(pid: int) -> tuple[str, ...]:
    """Return a process's words; none: it has ended."""
    try:
        return tuple(Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1])
    except (FileNotFoundError, ProcessLookupError):
        return ()


def freeze(lab: Lab, node: str, pids: set[int]) -> None:
    """Freeze processes of a host in a cgroup of their own, as pausing a container does."""
    places = cgroups.find(f"{lab.name}/{node}")
    is_v1 = any((place / "freezer.state").exists() for place in places)
    name, frozen = ("freezer.state", "FROZEN") if is_v1 else ("cgroup.freeze", "1")
    paused = next(place for place in places if (place / name).exists()) / "paused"
    paused.mkdir()
    for pid in pids:
        (paused / "cgroup.procs").write_text(str(pid))
    (paused / name).write_text(frozen)


async def test_power_loss_also_ends_paused_processes(cleaned: AsyncExitStack) -> None:
    one = lab(cleaned, "a")
    await one.up(1, program=IDLE)
    await until(lambda: bool(running(one, "node-1")), 5)
    paused = running(one, "node-1")
    freeze(one, "node-1", paused)

    await one.kill("node-1")

    assert not any(is_alive(pid) for pid in paused)
    await one.boot("node-1")
    assert await states(one) == ["up"]


async def test_labs_side_by_side_do_not_know_of_each_other(cleaned: AsyncExitStack) -> None:
    one, two = lab(cleaned, "a"), lab(cleaned, "b")
    async with asyncio.TaskGroup() as group:
        group.create_task(one.up(1, program=IDLE))
        group.create_task(two.up(2, program=IDLE))

    assert not await reaches(one, "client", address_of(2))
    await until_reached(two, "client", address_of(2))
    assert two.name not in await output(one, "node-1", "cat", "/proc/self/mountinfo")
    await one.down()
    assert leftovers(one.name) == []
    assert await states(two) == ["up", "up"]
    assert await network.has_dead_end(two.paths)
    assert not await network.has_dead_end(one.paths)


async def test_a_name_in_use_is_refused_with_the_way_out(cleaned: AsyncExitStack) -> None:
    one = lab(cleaned, "a")
    await one.up(1, program=IDLE)

    with pytest.raises(HostError) as caught:
        await Lab(one.name).up(3, program=IDLE)

    assert str(caught.value) == (
        f"lab {one.name} is already up (1 hosts): `hafen lab down --name {one.name}` removes it"
    )
    assert await states(one) == ["up"]


async def test_an_unknown_lab_and_an_unknown_host_are_named(cleaned: AsyncExitStack) -> None:
    one = lab(cleaned, "a")
    with pytest.raises(NotFoundError, match=f"no lab {one.name} is up"):
        Lab.open(one.name)
    await one.up(1, program=IDLE)
    with pytest.raises(NotFoundError, match=f"lab {one.name} has no host node-9, only node-1"):
        await Lab.open(one.name).kill("node-9")


async def test_what_another_crash_left_in_the_way_is_cleared(cleaned: AsyncExitStack) -> None:
    one = lab(cleaned, "a")
    await command.run(["ip", "netns", "add", one.paths.switch])
    assert f"network namespace {one.paths.switch}" in leftovers(one.name)

    await one.up(1, program=IDLE)

    assert await states(one) == ["up"]


async def test_a_host_that_cannot_start_says_why_and_nothing_is_left(
    cleaned: AsyncExitStack,
) -> None:
    one = lab(cleaned, "a")
    # Process 1 needs every word of this to be text that the kernel takes.
    with pytest.raises(HostError, match=r"node-\d did not start: .*embedded null byte"):
        await one.up(2, program=("sleep", "\0"))

    assert leftovers(one.name) == []


REFUSED = """
import asyncio, sys
from deploy.lab.lab import Lab
from shared.errors import HostError
try:
    asyncio.run(Lab(sys.argv[1]).up(1, program=("sleep", "600")))
except HostError as error:
    print(error)
"""


async def test_a_machine_whose_real_network_has_these_addresses_is_refused(
    cleaned: AsyncExitStack,
) -> None:
    one = lab(cleaned, "a")
    steps = 'ip link set lo up && ip route add 198.19.7.0/24 dev lo && exec "$0" -c "$1" "$2"'
    # A network namespace stands in for the machine's own network.
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--net", "sh", "-c", steps, sys.executable, REFUSED, one.name),
        stdin=DEVNULL,
        stdout=PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    out, _ = await process.communicate()

    assert out.decode() == (
        "labs use 198.18.0.0/15, but this machine has routes there: 198.19.7.0/24 by lo; "
        "a lab on it would hide that network\n"
    )
    assert leftovers(one.name) == []


def crash(lab: Lab, after: int) -> bool:
    """Run `up` in a process that kills itself after so many steps; say whether it did."""
    done = run("tests.integration.crashing", lab.name, str(after), within_s=UP_S)
    return done.returncode == -signal.SIGKILL


async def test_whatever_step_up_dies_at_the_next_up_clears_it(cleaned: AsyncExitStack) -> None:
    one = lab(cleaned, "a")
    steps = dirty = 0
    while crash(one, steps + 1):
        steps += 1
        dirty += bool(leftovers(one.name))
        with pytest.raises(NotFoundError):
            Lab.open(one.name)
        if steps % 4 == 0:
            # In between, let the cure be the other one.
            await one.down()
            assert leftovers(one.name) == []

    assert dirty >= 8
    assert await states(one) == ["up", "up"]


async def test_a_kill_that_was_killed_is_finished_by_boot(cleaned: AsyncExitStack) -> None:
    one = lab(cleaned, "a")
    await one.up(1, program=IDLE)
    init = json.loads(one.paths.record.read_text())["inits"]["node-1"]["pid"]
    os.kill(init, signal.SIGKILL)
    await until(lambda: not is_alive(init), 5)

    assert await states(one) == ["off"]
    await one.boot("node-1")
    assert await states(one) == ["up"]
    await until_reached(one, "client", one.address("node-1"))


async def test_who_stops_a_program_started_in_a_host_stops_it_inside(
    cleaned: AsyncExitStack,
) -> None:
    one = lab(cleaned, "a")
    await one.up(1, program=IDLE)
    process = await one.run_in("node-1", ["sleep", "77"], stdin=DEVNULL)
    await until(lambda: bool(running(one, "node-1", ("sleep", "77"))), 5)
    process.kill()
    await process.wait()

    await until(lambda: not running(one, "node-1", ("sleep", "77")), 5)
