"""What test_floating.py runs, one case a process: it is a host on a segment of three.

This process's own namespace is the host under test, with eth0. Beside it are a switch, another host
and a client, each in a namespace of its own.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Final

from node_agent.floating.host import HostStatus, Wish
from node_agent.floating.kernel import KernelAddresses
from node_agent.network import namespaces
from shared.clock import SystemClock
from tests.waiting import until, until_sync

OURS, OTHERS, CLIENTS = "02:48:46:00:00:01", "02:48:46:00:00:02", "02:48:46:00:00:fa"
OWN: Final = "198.18.0.1"
VIP, VIP6 = "198.18.0.50", "fd00:198:18::50"


def ip(*argv: str, inside: Path | None = None) -> str:
    """Return what `ip` says, here or in another namespace."""

    def work() -> str:
        done = subprocess.run(["ip", *argv], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (argv, done.stderr)
        return done.stdout

    return work() if inside is None else namespaces.enter(inside, work)


class Segment:
    """The switch and who is on it."""

    def __init__(self, folder: Path) -> None:
        self.switch, self.other, self.client = (folder / n for n in ("switch", "other", "client"))
        for path in (self.switch, self.other, self.client):
            namespaces.make(path)
        bridge = ("type", "bridge", "stp_state", "0", "forward_delay", "0", "mcast_snooping", "0")
        ip("link", "add", "br0", *bridge, inside=self.switch)
        ip("link", "set", "br0", "up", inside=self.switch)
        ip("link", "set", "lo", "up")
        self._plug("p2", self.other, OTHERS, "198.18.0.2")
        self._plug("p250", self.client, CLIENTS, "198.18.0.250")
        # Last: the others are made here under the same name.
        self._plug("p1", None, OURS, OWN)
        until_sync(lambda: "state UP" in ip("link", "show", "eth0"), 5, 0.01)

    def _plug(self, port: str, inside: Path | None, mac: str, address: str) -> None:
        ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "address", mac)
        for name, path in ((port, self.switch), ("eth0", inside)):
            if path is not None:
                self._move(name, path)
        ip("link", "set", port, "master", "br0", "up", inside=self.switch)
        v6 = f"fd00:198:18::{address.rpartition('.')[2]}/64"
        ip("addr", "add", f"{address}/24", "dev", "eth0", inside=inside)
        ip("addr", "add", v6, "dev", "eth0", "nodad", inside=inside)
        ip("link", "set", "eth0", "up", inside=inside)

    def _move(self, name: str, path: Path) -> None:
        # `ip link set netns` wants a process or a name in /run/netns: this descriptor is neither.
        fd = os.open(path, os.O_RDONLY)
        try:
            pinned = f"/proc/{os.getpid()}/fd/{fd}"
            ip("link", "set", name, "netns", pinned)
        finally:
            os.close(fd)

    def cut_other(self) -> None:
        """Take the other host's link."""
        ip("link", "set", "p2", "down", inside=self.switch)

    def give_other(self, address: str, length: int) -> None:
        """Let the other host have an address."""
        nodad = ("nodad",) if ":" in address else ()
        ip("addr", "add", f"{address}/{length}", "dev", "eth0", *nodad, inside=self.other)

    def client_reaches(self, address: str) -> bool:
        """Say whether a packet of the client's is answered."""
        argv = ["busybox", "ping", "-c", "1", "-W", "1", address]

        def ping() -> int:
            return subprocess.run(argv, capture_output=True, check=False).returncode

        return namespaces.enter(self.client, ping) == 0

    def client_believes(self, address: str) -> str:
        """Return which card the client sends to for an address."""
        words = ip("neigh", "show", address, inside=self.client).split()
        return words[words.index("lladdr") + 1] if "lladdr" in words else ""


def addresses() -> set[str]:
    """Return the addresses that the kernel has, with their lengths."""
    return {line.split()[3] for line in ip("-o", "addr", "show", "dev", "eth0").splitlines()}


def host() -> KernelAddresses:
    return KernelAddresses(OWN, SystemClock())


async def _has(kernel: KernelAddresses, *wishes: Wish) -> HostStatus:
    status = await kernel.apply(wishes)
    assert not status.problems, status.problems
    return status


async def _a_client_follows(segment: Segment, address: str, length: int) -> None:
    segment.give_other(address, length)
    await until(lambda: segment.client_reaches(address), 5)
    assert segment.client_believes(address) == OTHERS
    segment.cut_other()

    await _has(host(), Wish(address=address, lifetime_s=10))

    await until(lambda: segment.client_believes(address) == OURS, 2)
    await until(lambda: segment.client_reaches(address), 5)


async def a_client_s_arp_entry_follows(segment: Segment) -> None:
    await _a_client_follows(segment, VIP, 32)


async def a_client_s_ipv6_neighbour_follows(segment: Segment) -> None:
    await _a_client_follows(segment, VIP6, 128)


async def it_is_told_again_and_again(segment: Segment) -> None:
    kernel, wish = host(), Wish(address=VIP, lifetime_s=10)
    status = await _has(kernel, wish)
    assert status.again_s is not None
    await until(lambda: segment.client_reaches(VIP), 5)
    for _ in range(2):
        # Somebody tells the client what is not so: the next announcement mends it.
        wrong = ("lladdr", OTHERS, "dev", "eth0", "nud", "reachable")
        ip("neigh", "replace", VIP, *wrong, inside=segment.client)
        await asyncio.sleep(status.again_s or 0)
        status = await _has(kernel, wish)
        await until(lambda: segment.client_believes(VIP) == OURS, 2)


async def the_kernel_drops_it_when_the_agent_is_stopped(_segment: Segment) -> None:
    # Another process, so that it can be stopped; it is in this same namespace.
    argv = [sys.executable, "-m", "tests.contract.floating_cases", "hold", VIP, VIP6]
    with subprocess.Popen(  # noqa: ASYNC220 - a test waits
        argv, stdout=subprocess.PIPE, text=True
    ) as agent:
        assert agent.stdout is not None
        assert agent.stdout.readline() == "up\n"
        os.kill(agent.pid, signal.SIGSTOP)
        try:
            stopped = time.monotonic()
            assert {f"{VIP}/32", f"{VIP6}/128"} <= addresses()
            until_sync(lambda: not {f"{VIP}/32", f"{VIP6}/128"} & addresses(), 10, 0.02)
            assert f"{OWN}/24" in addresses()
            print(f"gone after {time.monotonic() - stopped:.2f} s, asked for 4 s")  # noqa: T201
        finally:
            agent.kill()


async def hold(wanted: list[str]) -> None:
    """Be an agent that has addresses for four seconds more, for ever."""
    kernel = host()
    while True:
        await _has(kernel, *(Wish(address=address, lifetime_s=4) for address in wanted))
        print("up", flush=True)  # noqa: T201
        await asyncio.sleep(0.3)


async def a_machine_that_has_the_address_is_noticed(segment: Segment) -> None:
    kernel = host()
    for address, length in ((VIP, 32), (VIP6, 128)):
        assert await kernel.answered_by(Wish(address=address)) == ""
        segment.give_other(address, length)
        said = await kernel.answered_by(Wish(address=address))
        assert said == f"{OTHERS} on eth0 answers {address}: a machine has it"
    assert segment.client_believes(VIP) == "", "the question tells nobody anything"


async def what_is_removed_is_back_and_what_is_not_wanted_goes(_segment: Segment) -> None:
    first, wish = host(), Wish(address=VIP, lifetime_s=60)
    await _has(first, wish, Wish(address="198.18.0.51", lifetime_s=60))
    ip("addr", "del", f"{VIP}/32", "dev", "eth0")
    await _has(first, wish)
    assert addresses() >= {f"{VIP}/32", f"{OWN}/24"}
    assert "198.18.0.51/32" not in addresses()

    ip("addr", "add", "198.18.0.60/32", "dev", "eth0")
    restarted = host()
    found = await restarted.look()
    assert set(found.up) == {VIP}, "what the agent before had, and nothing else"
    assert 30 <= found.up[VIP] <= 60
    await _has(restarted)
    assert f"{VIP}/32" not in addresses()
    assert addresses() >= {f"{OWN}/24", "198.18.0.60/32"}, "what is not ours is left alone"


async def what_is_kept_is_not_made_longer(_segment: Segment) -> None:
    kernel = host()
    await _has(kernel, Wish(address=VIP, lifetime_s=10))
    await until(lambda: _left(kernel, 8), 5)
    await _has(kernel, Wish(address=VIP))
    assert (await kernel.look()).up[VIP] <= 8
    status = await kernel.apply([Wish(address="198.18.0.51")])
    assert not status.up, "what is not there is not made"


async def _left(kernel: KernelAddresses, seconds: float) -> bool:
    return (await kernel.look()).up[VIP] <= seconds


async def an_address_is_on_the_interface_of_its_network(_segment: Segment) -> None:
    kernel = host()
    status = await kernel.apply([Wish(address="198.18.7.1", lifetime_s=10)])
    assert status.problems == {
        "198.18.7.1": "no interface of this node has a network that contains 198.18.7.1"
    }
    assert status.segments == ("198.18.0.0/24", "fd00:198:18::/64")
    said = await kernel.answered_by(Wish(address="198.18.7.1"))
    assert said == status.problems["198.18.7.1"]
    await _has(kernel, Wish(address="198.18.7.1", prefix_length=24, lifetime_s=10))
    assert "198.18.7.1/24" in addresses()
    await _has(kernel, Wish(address=VIP, prefix_length=24, lifetime_s=10))
    assert f"{VIP}/32" in addresses(), "its network is there already"
    ip("addr", "add", "198.18.0.60/32", "dev", "eth0")
    status = await kernel.apply([Wish(address="198.18.0.60", lifetime_s=10)])
    assert status.problems["198.18.0.60"] == "198.18.0.60 is an address of this host already"


CASES: Final[dict[str, Callable[[Segment], Coroutine[None, None, None]]]] = {
    case.__name__: case
    for case in (
        a_client_s_arp_entry_follows,
        a_client_s_ipv6_neighbour_follows,
        it_is_told_again_and_again,
        the_kernel_drops_it_when_the_agent_is_stopped,
        a_machine_that_has_the_address_is_noticed,
        what_is_removed_is_back_and_what_is_not_wanted_goes,
        what_is_kept_is_not_made_longer,
        an_address_is_on_the_interface_of_its_network,
    )
}


if __name__ == "__main__":
    if sys.argv[1] == "hold":
        asyncio.run(hold(sys.argv[2:]))
    else:
        asyncio.run(CASES[sys.argv[1]](Segment(Path(sys.argv[2]))))
