"""Nodes, containers and a client outside: namespaces on one segment, the kernel's own routing.

Containers hang on links of their own, as a node's network has them: all their traffic is routed.
"""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar, cast

import msgspec

from node_agent.network import namespaces
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

T = TypeVar("T")

SHOP: Final = StackName("shop")
VIP: Final = "198.18.200.1"
PORT: Final = 7000
CLIENT: Final = "198.18.0.100"
_ROOT: Final = Path(__file__).parents[2]
_ANSWER_S: Final = 10.0


class Box:
    """A namespace with one address: a node, a container or a client."""

    def __init__(self, pin: Path, address: str, node: str = "") -> None:
        self.pin, self.address, self.node = pin, address, node

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
        one = self.inside(lambda: socket.socket(socket.AF_INET, kind))
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if port is not None:
            one.bind((self.address, port))
        return one


class Rig:
    """The cluster of one case."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.nodes: dict[str, Box] = {}
        self.agents: dict[str, Agent] = {}
        self.revision = 0
        _run("ip", "link", "add", "segment", "type", "bridge")
        _run("ip", "link", "set", "segment", "up")
        self.client = self._on_segment("client", CLIENT)

    def _on_segment(self, name: str, address: str) -> Box:
        box = Box(self._folder / name, address, name)
        namespaces.make(box.pin)
        _run("ip", "link", "add", f"s-{name}", "type", "veth", "peer", "name", "t-eth0")
        _run("ip", "link", "set", f"s-{name}", "master", "segment", "up")
        _run("ip", "link", "set", "t-eth0", "netns", str(box.pin))
        box.do(
            "ip link set t-eth0 name eth0",
            "ip link set lo up",
            f"ip addr add {address}/24 dev eth0",
            "ip link set eth0 up",
        )
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
        for other, there in self.nodes.items():
            box.do(f"ip route add 198.19.{other[5:]}.0/24 via {there.address}")
            there.do(f"ip route add 198.19.{number}.0/24 via {box.address}")
        self.nodes[name] = box
        return box

    def container(self, node: Box, last: int) -> Box:
        """Add a container to a node."""
        subnet = node.node.rpartition("-")[2]
        box = Box(self._folder / f"c{subnet}-{last}", f"198.19.{subnet}.{last}", node.node)
        namespaces.make(box.pin)
        node.do(
            f"ip link add v{last} type veth peer name eth0 netns {box.pin}",
            f"ip link set v{last} up",
            f"ip route add {box.address}/32 dev v{last}",
        )
        box.do(
            "ip link set lo up",
            f"ip addr add {box.address}/32 dev eth0",
            "ip link set eth0 up",
            f"ip route add 198.19.{subnet}.1/32 dev eth0",
            f"ip route add default via 198.19.{subnet}.1",
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
                *("-m", "tests.contract.balance_node", node.node),
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


def endpoint(
    box: Box,
    state: EndpointState = EndpointState.READY,
    slot: int = 0,
    targets: Mapping[int, int] = {},
) -> Endpoint:
    return Endpoint(
        allocation=AllocId(f"shop.web.{slot}.{box.address}"),
        node=NodeName(box.node),
        address=box.address,
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


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, name: str) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, _: bytes, addr: tuple[str, int]) -> None:
        self._transport.sendto(f"{self._name} {addr[0]}".encode(), addr)


@asynccontextmanager
async def udp_server(box: Box, port: int = PORT) -> AsyncIterator[None]:
    """Answer each datagram with who answers and who asked."""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(
        lambda: _Datagrams(box.address), sock=box.socket(socket.SOCK_DGRAM, port)
    )
    try:
        yield
    finally:
        transport.close()


@asynccontextmanager
async def tcp_server(box: Box, port: int = PORT) -> AsyncIterator[None]:
    """Say who answers and who asked; then give each line back."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(f"{box.address} {writer.get_extra_info('peername')[0]}\n".encode())
            while line := await reader.readline():
                writer.write(line)
        writer.close()

    server = await asyncio.start_server(
        answer, sock=box.socket(socket.SOCK_STREAM, port), backlog=1000
    )
    try:
        yield
    finally:
        server.close()


class Line:
    """An open TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self._writer = reader, writer

    async def answers(self, text: str = "still there") -> bool:
        """Say whether what is sent comes back."""
        self._writer.write(f"{text}\n".encode())
        async with asyncio.timeout(_ANSWER_S):
            return await self.reader.readline() == f"{text}\n".encode()

    def close(self) -> None:
        self._writer.close()


async def connect(box: Box, to: str = VIP, port: int = PORT) -> tuple[Line, str, str]:
    """Return a connection, who answered it, and whom that one saw."""
    one = box.socket(socket.SOCK_STREAM)
    await asyncio.get_running_loop().sock_connect(one, (to, port))
    reader, writer = await asyncio.open_connection(sock=one)
    async with asyncio.timeout(_ANSWER_S):
        who, seen = (await reader.readline()).decode().split()
    return Line(reader, writer), who, seen


async def who_answers(box: Box, count: int, to: str = VIP, port: int = PORT) -> Counter[str]:
    """Return how many of `count` connections each replica answered."""
    found: Counter[str] = Counter()
    for _ in range(count):
        line, who, _ = await connect(box, to, port)
        line.close()
        found[who] += 1
    return found


class Caller:
    """A client of UDP with one port: to the kernel, all of its datagrams are one connection."""

    def __init__(self, box: Box, to: str = VIP, port: int = PORT) -> None:
        self._socket = box.socket(socket.SOCK_DGRAM)
        self._socket.bind((box.address if box.node else "", 0))
        self._to = (to, port)

    async def ask(self, within_s: float = _ANSWER_S) -> tuple[str, str] | None:
        """Return who answers one datagram and whom that one saw; None: nobody does."""
        loop = asyncio.get_running_loop()
        await loop.sock_sendto(self._socket, b"?", self._to)
        try:
            async with asyncio.timeout(within_s):
                who, seen = (await loop.sock_recv(self._socket, 100)).decode().split()
        except (TimeoutError, ConnectionRefusedError):
            return None
        return who, seen


def vanish(node: Box) -> None:
    """Cut a node off: nothing of it is heard any more, no reset either."""
    _run("ip", "link", "set", f"s-{node.node}", "down")


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True)
