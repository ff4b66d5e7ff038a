"""Nodes, containers and a client outside: namespaces on one segment, the kernel's own routing.

Containers hang on links of their own, as a node's network has them: all their traffic is routed.
"""

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from node_agent.network import namespaces
from node_agent.network.addresses import six_of
from node_agent.network.fabric import FabricStatus, Topology
from shared.model import (
    Affinity,
    AllocId,
    Endpoint,
    EndpointState,
    NodeName,
    PublishedPort,
    Revision,
    Routes,
    ServiceName,
    ServiceRoutes,
    StackName,
)
from tests.contract.balance_node import POOL6

T = TypeVar("T")

SHOP: Final = StackName("shop")
VIP: Final = "198.18.200.1"
FAMILIES: Final = {"ipv4": "", "ipv6": POOL6}
CLIENT: Final = "198.18.0.100"
_ROOT: Final = Path(__file__).parents[2]
# A process takes so long to begin on a machine with much else to do.
_ANSWER_S: Final = 30.0


class Box:
    """A namespace: a node, a container or a client.

    Attributes:
        four: its IPv4 address, as routes say it.
        pool6: what IPv6 addresses begin with; empty: it has none.
        address: what it serves at and asks from: IPv6 if it has that.
    """

    def __init__(self, pin: Path, four: str, node: str, pool6: str) -> None:
        self.pin, self.four, self.node, self.pool6 = pin, four, node, pool6
        self.address = self.says(four)

    def says(self, address: str) -> str:
        """Return what it calls whoever has this IPv4 address; one of IPv6 stays."""
        return address if ":" in address or not self.pool6 else six_of(self.pool6, address)

    def run(self, *argv: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["nsenter", f"--net={self.pin}", *argv], capture_output=True, text=True, check=check
        )

    def do(self, *commands: str) -> None:
        for command in commands:
            self.run(*command.split())

    def inside(self, work: Callable[[], T]) -> T:
        return namespaces.enter(self.pin, work)

    def socket(self, kind: socket.SocketKind, port: int | None = None) -> socket.socket:
        """Return a socket of this namespace, bound to `port` of its address if one is said."""
        family = socket.AF_INET6 if self.pool6 else socket.AF_INET
        one = self.inside(lambda: socket.socket(family, kind))
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if port is not None:
            one.bind((self.address, port))
        return one


class Rig:
    """The cluster of one case.

    Args:
        folder: for its namespaces.
        pool6: empty: all of it is of IPv4, and has no IPv6.
    """

    def __init__(self, folder: Path, pool6: str = "") -> None:
        self._folder, self.pool6 = folder, pool6
        self.nodes: dict[str, Box] = {}
        self.agents: dict[str, Agent] = {}
        self.revision = 0
        _run("ip", "link", "add", "segment", "type", "bridge")
        _run("ip", "link", "set", "segment", "up")
        self.client = self._on_segment("client", CLIENT)

    @property
    def family(self) -> str:
        """Return what nft calls the family of its clients."""
        return "ip6" if self.pool6 else "ip"

    def _box(self, name: str, address: str, node: str) -> Box:
        box = Box(self._folder / name, address, node, self.pool6)
        namespaces.make(box.pin)
        if self.pool6:  # or links ask nobody for neighbours while it is seen whether they are alone
            box.do("sysctl -q net.ipv6.conf.default.accept_dad=0")
        return box

    def _on_segment(self, name: str, address: str) -> Box:
        box = self._box(name, address, name)
        _run("ip", "link", "add", f"s-{name}", "type", "veth", "peer", "name", "t-eth0")
        _run("ip", "link", "set", f"s-{name}", "master", "segment", "up")
        _run("ip", "link", "set", "t-eth0", "netns", str(box.pin))
        box.do(
            "ip link set t-eth0 name eth0",
            "ip link set lo up",
            f"ip addr add {address}/24 dev eth0",
            "ip link set eth0 up",
        )
        if self.pool6:
            box.do(f"ip addr add {box.address}/120 dev eth0 nodad")
        return box

    def node(self, number: int) -> Box:
        """Add a node."""
        name = f"node-{number}"
        box = self._on_segment(name, f"198.18.0.{number}")
        box.do(
            f"ip addr add 198.19.{number}.1/32 dev lo",
            "sysctl -q net.ipv4.ip_forward=1",
            "ip route add 198.18.200.0/24 dev lo",
        )
        if self.pool6:
            # A route to loopback is one to nowhere in IPv6.
            box.do(
                "sysctl -q net.ipv6.conf.all.forwarding=1",
                f"ip route add {box.says('198.18.200.0')}/120 dev eth0",
            )
        for other, there in self.nodes.items():
            _route(box, f"198.19.{other[5:]}.0", there)
            _route(there, f"198.19.{number}.0", box)
        self.nodes[name] = box
        return box

    def container(self, node: Box, last: int) -> Box:
        """Add a container to a node."""
        subnet = node.node.rpartition("-")[2]
        box = self._box(f"c{subnet}-{last}", f"198.19.{subnet}.{last}", node.node)
        gateway = f"198.19.{subnet}.1"
        node.do(
            f"ip link add v{last} type veth peer name eth0 netns {box.pin}",
            f"ip link set v{last} up",
            f"ip route add {box.four}/32 dev v{last}",
        )
        box.do(
            "ip link set lo up",
            f"ip addr add {box.four}/32 dev eth0",
            "ip link set eth0 up",
            f"ip route add {gateway}/32 dev eth0",
            f"ip route add default via {gateway}",
        )
        if self.pool6:
            six = box.says(gateway)
            node.do(
                f"ip addr add {six}/128 dev v{last} nodad",
                f"ip route add {box.address}/128 dev v{last}",
            )
            box.do(
                f"ip addr add {box.address}/128 dev eth0 nodad",
                f"ip route add {six}/128 dev eth0",
                f"ip route add default via {six}",
            )
        return box

    async def apply(self, service: ServiceRoutes | None, *more: ServiceRoutes) -> FabricStatus:
        """Give the routes to every node's agent; return what the first one says."""
        services = () if service is None else (service, *more)
        self.revision += 1
        routes = (Revision(self.revision), Routes(stack=SHOP, services=services))
        said = [await agent.apply({SHOP: routes}) for agent in self.agents.values()]
        for status in said:
            assert status.acked == {SHOP: self.revision}, status
        return said[0]

    async def quiet(self) -> FabricStatus:
        """Let every agent pass once more with the same routes, as they do every few seconds."""
        first, *_ = [await agent.again() for agent in self.agents.values()]
        return first

    @asynccontextmanager
    async def agent(self, *nodes: Box) -> AsyncIterator[None]:
        """Run the agents of nodes."""
        try:
            for node in nodes:
                self.agents[node.node] = await Agent.start(node)
            yield
        finally:
            for agent in self.agents.values():
                await agent.stop()
            self.agents = {}

    async def restart(self, node: Box) -> None:
        """Kill a node's agent and start another one."""
        await self.agents[node.node].stop()
        self.agents[node.node] = await Agent.start(node)


class Shop:
    """Two nodes; a client and replicas on each."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.first, self.second = rig.node(1), rig.node(2)
        self.client = rig.container(self.first, 9)
        # Two of them stand on the client's node.
        self.a, self.b = rig.container(self.first, 2), rig.container(self.first, 3)
        self.c = rig.container(self.second, 2)
        self.replicas = (self.a, self.b, self.c)


class Agent:
    """The process that balances on one node."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._last = b""

    @classmethod
    async def start(cls, node: Box) -> "Agent":
        return cls(
            await asyncio.create_subprocess_exec(
                *("nsenter", f"--net={node.pin}", sys.executable),
                *("-m", "tests.contract.balance_node", node.node, node.pool6),
                cwd=_ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        )

    async def apply(self, routes: dict[StackName, tuple[Revision, Routes]]) -> FabricStatus:
        self._last = msgspec.json.encode(Topology(routes=routes)) + b"\n"
        return await self.again()

    async def again(self) -> FabricStatus:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(self._last)
        async with asyncio.timeout(_ANSWER_S):
            return msgspec.json.decode(await self._process.stdout.readline(), type=FabricStatus)

    async def stop(self) -> None:
        self._process.kill()
        await self._process.wait()


def _route(box: Box, subnet: str, to: Box) -> None:
    box.do(f"ip route add {subnet}/24 via {to.four}")
    if box.pool6:
        box.do(f"ip route add {box.says(subnet)}/120 via {to.address}")


def endpoint(
    box: Box,
    state: EndpointState = EndpointState.READY,
    slot: int = 0,
    targets: Mapping[int, int] = {},
) -> Endpoint:
    return Endpoint(
        allocation=AllocId(f"shop.web.{slot}.{box.four}"),
        node=NodeName(box.node),
        address=box.four,
        state=state,
        slot=slot,
        targets=targets,
    )


def service(
    *endpoints: Endpoint,
    vip: str = VIP,
    affinity: Affinity = Affinity.NONE,
    ports: tuple[PublishedPort, ...] = (),
    name: str = "web",
) -> ServiceRoutes:
    return ServiceRoutes(
        service=ServiceName(name), ports=ports, endpoints=endpoints, vip=vip, affinity=affinity
    )


def vanish(node: Box) -> None:
    """Cut a node off: nothing of it is heard any more, no reset either."""
    _run("ip", "link", "set", f"s-{node.node}", "down")


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True)
