"""What a lab breaks besides power and cables: frames one way, programs that stand still, disks."""

import os
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from deploy.lab import programs
from deploy.lab.ground import leftovers
from deploy.lab.lab import Lab
from deploy.lab.plan import Way
from deploy.lab.programs import Program
from shared.errors import HostError, NotFoundError, SpecError
from tests.waiting import until

pytestmark = pytest.mark.real

IDLE = ("sleep", "600")
WITHIN_S = 20.0


@pytest.fixture
async def cleaned() -> AsyncIterator[AsyncExitStack]:
    """Take down, also after a failure, every lab that is registered here."""
    async with AsyncExitStack() as stack:
        yield stack


def lab(cleaned: AsyncExitStack) -> Lab:
    made = Lab(f"t{os.getpid() % 100000}-f")
    cleaned.push_async_callback(made.down)
    return made


async def pings(one: Lab, node: str, other: str) -> bool:
    argv = ["busybox", "ping", "-c1", "-W1", one.address(other)]
    process = await one.run_in(node, argv, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    return await process.wait() == 0


async def until_pings(one: Lab, node: str, other: str) -> None:
    """Wait until a host reaches another: the first packets may be lost, or late."""
    await until(lambda: pings(one, node, other), WITHIN_S, poll_s=0.1)


async def asked(one: Lab, node: str) -> int:
    """Return how many echo requests have reached a host's kernel."""
    process = await one.run_in(node, ["cat", "/proc/net/snmp"], stdin=DEVNULL, stdout=PIPE)
    out, _ = await process.communicate()
    names, values = [line.split() for line in out.decode().splitlines() if line[:5] == "Icmp:"]
    return int(values[names.index("InEchos")])


async def test_frames_are_dropped_in_the_direction_that_was_asked_for(
    cleaned: AsyncExitStack,
) -> None:
    one = lab(cleaned)
    await one.up(3, program=IDLE)
    await until_pings(one, "node-1", "node-2")
    # Neighbours are known now: nothing but the packets themselves is on the wire.
    await one.cut("node-1", sender="node-2")

    before = await asked(one, "node-2")
    assert not await pings(one, "node-1", "node-2")
    assert await asked(one, "node-2") > before  # it heard the question; its answer was lost
    await until_pings(one, "node-1", "node-3")
    cuts = {host.name: host.cuts for host in (await one.status()).hosts}
    assert cuts == {"node-1": ("nothing from node-2",), "node-2": (), "node-3": ()}

    await one.heal("node-1")
    await until_pings(one, "node-1", "node-2")


@pytest.mark.parametrize(("way", "heard"), [(Way.IN, True), (Way.OUT, False)])
async def test_a_host_can_be_deaf_or_mute(
    cleaned: AsyncExitStack, way: Way, *, heard: bool
) -> None:
    one = lab(cleaned)
    await one.up(2, program=IDLE)
    await until_pings(one, "node-1", "node-2")

    await one.cut("node-1", way=way)

    before = await asked(one, "node-2")
    assert not await pings(one, "node-1", "node-2")
    assert (await asked(one, "node-2") > before) is heard
    assert (await one.status()).hosts[0].cuts == (f"nothing {way}",)
    await one.heal("node-1")
    await until_pings(one, "node-1", "node-2")
    assert (await one.status()).hosts[0].cuts == ()


async def test_a_cut_outlives_a_power_loss_and_is_gone_with_the_lab(
    cleaned: AsyncExitStack,
) -> None:
    one = lab(cleaned)
    await one.up(2, program=IDLE)
    await one.cut("node-1", way=Way.OUT)
    await one.kill("node-1")
    await one.boot("node-1")

    assert not await pings(one, "node-2", "node-1")
    await one.down()
    assert leftovers(one.name) == []


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_program_of_a_host_stands_still_and_goes_on(
    cleaned: AsyncExitStack,
) -> None:
    one = lab(cleaned)
    await one.up(1, program=IDLE)
    with pytest.raises(HostError, match="node-1 runs no agent at the moment"):
        one.signal("node-1", Program.AGENT, signal.SIGSTOP)
    # etcd is told by its file name alone, so any program of that name will do.
    copy = ["sh", "-c", "cp /bin/sleep /tmp/etcd && exec /tmp/etcd 600"]
    started = await one.run_in("node-1", copy, stdin=DEVNULL)
    found = programs.find
    await until(lambda: bool(found(one.paths, "node-1", Program.ETCD)), 5)
    (pid,) = found(one.paths, "node-1", Program.ETCD)

    one.signal("node-1", Program.ETCD, signal.SIGSTOP)
    await until(lambda: state(pid) == "T", 5)
    one.signal("node-1", Program.ETCD, signal.SIGCONT)
    await until(lambda: state(pid) != "T", 5)
    one.signal("node-1", Program.ETCD, signal.SIGSTOP)
    await one.kill("node-1")  # also what stands still dies with the power

    await started.wait()
    with pytest.raises(HostError, match="node-1 is off"):
        one.signal("node-1", Program.ETCD, signal.SIGCONT)


def is_mounted(one: Lab) -> bool:
    return str(one.paths.state) in Path("/proc/self/mountinfo").read_text()


async def wrote(one: Lab, node: str) -> bool:
    argv = [
        "sh",
        "-c",
        "cd /var/lib/hafen && head -c 1000000 /dev/zero > new; code=$?; rm new; exit $code",
    ]
    process = await one.run_in(node, argv, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL)
    return await process.wait() == 0


async def test_a_disk_of_its_own_is_filled_freed_and_kept_over_a_power_loss(
    cleaned: AsyncExitStack,
) -> None:
    one = lab(cleaned)
    await one.up(2, program=IDLE, disk_mib=256)
    assert await wrote(one, "node-1")

    taken = one.fill("node-1")

    assert 128 * 2**20 < taken < 256 * 2**20
    assert not await wrote(one, "node-1")
    assert await wrote(one, "node-2")
    assert one.fill("node-1") == 0
    await one.kill("node-1")
    await one.boot("node-1")
    assert not await wrote(one, "node-1")
    one.free("node-1")
    assert await wrote(one, "node-1")
    one.free("node-1")  # twice is once
    await one.down()
    assert leftovers(one.name) == []
    assert not is_mounted(one)


async def test_the_disk_of_the_machine_is_not_filled(cleaned: AsyncExitStack) -> None:
    one = lab(cleaned)
    with pytest.raises(SpecError, match="a host's disk has 256 to 16384 MiB, not 100"):
        await one.up(1, program=IDLE, disk_mib=100)
    await one.up(1, program=IDLE)

    with pytest.raises(HostError, match="shares the machine's disk: `hafen lab up --disk-mib"):
        one.fill("node-1")
    with pytest.raises(NotFoundError, match="no host node-9"):
        one.free("node-9")
