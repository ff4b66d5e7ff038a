"""What test_peers.py runs, one case a process: two hosts joined by a cable, on the real kernel.

This process is one host; the other is a second process in a network namespace of its own.
"""

import asyncio
import contextlib
import os
import random
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Final

from node_agent.peers.net import Net, Received, Way
from node_agent.peers.prober import Peers
from node_agent.peers.promise import PromiseFile
from node_agent.peers.sockets import SocketNet
from shared.clock import SystemClock
from shared.model import NodeName, Silence
from shared.settings import AGENT_PEER_PORT
from shared.timing import WAN
from tests.build import node_spec
from tests.waiting import until

OTHER: Final = NodeName("node-2")
# The third never answers; it is this host's own second address that keeps us from being cut off.
THIRD: Final = NodeName("node-3")
SPECS: Final = [node_spec(f"node-{number}") for number in (1, 2, 3)]
_WITHIN_S: Final = 20.0


class CountingNet(SocketNet):
    """Counts what arrives, by way and address."""

    def __init__(self, address: str, port: int) -> None:
        super().__init__(address, port)
        self.heard: Counter[tuple[Way, str]] = Counter()

    def open(self, received: Received) -> None:
        def counted(way: Way, address: str, data: bytes) -> None:
            self.heard[way, address] += 1
            received(way, address, data)

        super().open(counted)


def peers(number: int, folder: Path, net: Net) -> Peers:
    return Peers(
        NodeName(f"node-{number}"),
        WAN,  # a process of a busy machine is silent for longer than others may be of a LAN
        net,
        PromiseFile(folder),
        clock=SystemClock(),
        rng=random.Random(),  # noqa: S311 - a test
        has_session=lambda: False,
        on_change=lambda: None,
    )


async def serve(number: int, folder: Path) -> None:
    """Be one more node until killed."""
    one = peers(number, folder, SocketNet(f"198.18.0.{number}", AGENT_PEER_PORT))
    one.follow(SPECS)
    await one.run()


class Rig:
    """Node 1, here; node 3 beside it; node 2 at the other end of the cable."""

    def __init__(self, folder: Path) -> None:
        net = CountingNet("198.18.0.1", AGENT_PEER_PORT)
        self.here, self.heard, self.folder = peers(1, folder, net), net.heard, folder
        self.here.follow(SPECS)
        self.far = self._start(2, *self.inside())
        self.near = self._start(3)

    def _start(self, number: int, *inside: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*inside, *_node(number, self.folder)])

    def inside(self, *argv: str) -> list[str]:
        return ["nsenter", f"--net={self.folder}/far", *argv]

    def far_runs(self) -> None:
        self.far = self._start(2, *self.inside())

    def end(self) -> None:
        for process in (self.far, self.near):
            process.kill()
            process.wait()

    def filter(self, table: str) -> None:
        subprocess.run(self.inside("nft", table), check=True)

    def far_ends(self) -> None:
        self.far.kill()
        self.far.wait()

    async def settled(self) -> None:
        """Wait until both others have answered often, both ways."""
        all_ways = {(way, f"198.18.0.{number}") for way in Way for number in (2, 3)}
        await until(
            lambda: {pair for pair, times in self.heard.items() if times >= 10} >= all_ways,
            _WITHIN_S,
        )
        assert self.here.suspicions == {}

    async def answers(self) -> bool:
        found = await self.here.ask_all(0.1)
        return found == {OTHER: True, THIRD: True}

    async def suspects(self, silence: Silence | None) -> None:
        await until(lambda: self.here.suspicions.get(OTHER) is silence, _WITHIN_S)
        assert THIRD not in self.here.suspicions


def _node(number: int, folder: Path) -> list[str]:
    return [sys.executable, "-m", "tests.contract.peers_cases", f"node-{number}", str(folder)]


def run_all(*commands: str) -> None:
    for command in commands:
        subprocess.run(command.split(), check=True)


@contextlib.contextmanager
def cable(folder: Path) -> Iterator[None]:
    """Make the other namespace and join it to ours."""
    (folder / "far").touch()
    far = f"nsenter --net={folder}/far"
    run_all(
        "ip link set lo up",
        f"unshare --net={folder}/far ip link set lo up",
        "ip link add cable type veth peer name end",
    )
    run_all(
        f"ip link set end netns {folder}/far",
        "ip addr add 198.18.0.1/24 dev cable",
        "ip addr add 198.18.0.3/24 dev cable",
        "ip link set cable up",
        f"{far} ip addr add 198.18.0.2/24 dev end",
        f"{far} ip link set end up",
    )
    yield
    run_all(f"umount {folder}/far")


@contextlib.asynccontextmanager
async def running(one: Rig) -> AsyncGenerator[None, None]:
    """Let this host's peers run."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(one.here.run())
        try:
            yield
        finally:
            task.cancel()
            one.end()


async def a_host_that_answers_is_not_suspected(one: Rig) -> None:
    assert one.here.problems == ()


async def an_agent_that_is_down_is_told_from_its_host_and_forgiven(one: Rig) -> None:
    one.far_ends()
    await one.suspects(Silence.AGENT)
    one.far_runs()
    await one.suspects(None)


async def a_host_without_its_link_is_unreachable_until_it_is_back(one: Rig) -> None:
    run_all(f"nsenter --net={one.folder}/far ip link set end down")
    await one.suspects(Silence.HOST)
    run_all(f"nsenter --net={one.folder}/far ip link set end up")
    await one.suspects(None)


async def a_host_that_drops_icmp_is_a_problem_and_never_unreachable(one: Rig) -> None:
    table = "table ip t { chain c { type filter hook input priority 0; ip protocol icmp drop; }; }"
    one.filter(table)
    await until(lambda: one.here.problems != (), _WITHIN_S)
    assert one.here.problems[0].startswith("node-2 does not answer ICMP: ")
    one.far_ends()
    await one.suspects(Silence.AGENT)


async def garbage_changes_nothing(one: Rig) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for size in (0, 1, 81, 82, 83, 1400):
            for _ in range(50):
                stranger.sendto(os.urandom(size), ("198.18.0.1", AGENT_PEER_PORT))
    await until(one.answers, _WITHIN_S)
    assert one.here.suspicions == {}


CASES: Final[dict[str, Callable[[Rig], Awaitable[None]]]] = {
    case.__name__: case
    for case in (
        a_host_that_answers_is_not_suspected,
        an_agent_that_is_down_is_told_from_its_host_and_forgiven,
        a_host_without_its_link_is_unreachable_until_it_is_back,
        a_host_that_drops_icmp_is_a_problem_and_never_unreachable,
        garbage_changes_nothing,
    )
}


async def main(name: str, folder: Path) -> None:
    """Be a node, or run one case."""
    if name not in CASES:
        await serve(int(name.rpartition("-")[2]), folder)
        return
    with cable(folder):
        one = Rig(folder)
        async with running(one):
            await one.settled()
            await CASES[name](one)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
