"""Small HTTP servers as replicas, a client that counts, and a network namespace to have them in."""

import asyncio
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import ClientSession, ClientTimeout, ClientWebSocketResponse, TCPConnector, web

from node_agent.gateway.haproxy import HaproxyGateway
from node_agent.network import rules
from node_agent.network.cluster import Cluster
from node_agent.network.policy import Frame
from node_agent.network.rulings import Rulings
from shared.model import (
    AllocId,
    Endpoint,
    EndpointState,
    NodeName,
    Protocol,
    PublishedPort,
    Revision,
    Routes,
    ServiceName,
    ServiceRoutes,
    StackName,
)

SHOP = StackName("shop")
PORT: Final = 8080
TARGET: Final = 80
POOL: Final = "198.19.0.0/16"
A, B = "198.19.1.2", "198.19.1.3"
# A websocket that is left open is cut after this.
_SHUTDOWN_S: Final = 0.2


class Replica:
    """A web server on an address of its own, which answers with that address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.has_request = asyncio.Event()
        self.release = asyncio.Event()
        self.release.set()
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=_SHUTDOWN_S)
        await self._runner.setup()
        await web.TCPSite(self._runner, self.address, TARGET).start()

    async def die(self) -> None:
        """Vanish as a host does.

        From now on nobody answers at the address, and no reset is sent.
        """
        nft(f"add element ip test gone {{ {self.address} }}")

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Upgrade") == "websocket":
            return await self._echo(request)
        self.has_request.set()
        await self.release.wait()
        return web.Response(text=self.address)

    async def _echo(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            await ws.send_str(f"{self.address} {message.data}")
        return ws


def nft(script: str) -> None:
    subprocess.run(["nft", "-f", "-"], input=script.encode(), check=True)


def set_up_network() -> None:
    """Give the namespace the replicas' addresses and the node's rules, and a way to vanish."""
    for argv in (
        ["ip", "link", "set", "lo", "up"],
        ["ip", "addr", "add", f"{A}/32", "dev", "lo"],
        ["ip", "addr", "add", f"{B}/32", "dev", "lo"],
    ):
        subprocess.run(argv, check=True)
    frame = Frame(pool=POOL, subnet="198.19.0.0/24")
    nft(rules.whole(Rulings(NodeName("node-1"), frame).of(Cluster(), {})))
    nft(
        "table ip test { set gone { type ipv4_addr; };"
        " chain in { type filter hook input priority -20;"
        " ip daddr @gone drop; ip saddr @gone drop; }; }"
    )


def endpoint(address: str, state: EndpointState = EndpointState.READY) -> Endpoint:
    return Endpoint(
        allocation=AllocId(f"shop.web.1.{address.rpartition('.')[2]}"),
        node=NodeName("node-1"),
        address=address,
        state=state,
    )


Served = dict[StackName, tuple[Revision, Routes]]


def served(
    *endpoints: Endpoint,
    revision: int = 1,
    replicas: int = 2,
    protocol: Protocol = Protocol.HTTP,
    port: int = PORT,
) -> Served:
    service = ServiceRoutes(
        service=ServiceName("web"),
        ports=(PublishedPort(published=port, target=TARGET, protocol=protocol),),
        endpoints=endpoints,
        replicas=replicas,
    )
    return {SHOP: (Revision(revision), Routes(stack=SHOP, services=(service,)))}


@asynccontextmanager
async def replica(address: str) -> AsyncIterator[Replica]:
    one = Replica(address)
    await one.start()
    try:
        yield one
    finally:
        one.release.set()
        await one.stop()


def retries(gateway: HaproxyGateway) -> int:
    """Return how often HAProxy has tried again, from its own statistics."""
    with socket.socket(socket.AF_UNIX) as talk:
        talk.connect(str(gateway.haproxy.admin_socket))
        talk.sendall(b"show stat\n")
        text = b"".join(iter(lambda: talk.recv(65536), b"")).decode()
    header, *rows = text.strip().splitlines()
    column = header.removeprefix("# ").split(",").index("wretr")
    return sum(int(row.split(",")[column] or 0) for row in rows if ",BACKEND," in row)


class Client:
    """GETs through the gateway; counts what came back."""

    def __init__(self, session: ClientSession, url: str = f"http://127.0.0.1:{PORT}/") -> None:
        self._session, self._url = session, url
        self.answers: list[str] = []
        self.failures: list[str] = []
        self.slowest_s = 0.0

    async def get(self, *, method: str = "GET") -> None:
        began_s = time.monotonic()
        try:
            async with self._session.request(method, self._url) as response:
                text = await response.text()
                (self.answers if response.status == 200 else self.failures).append(text)
        except OSError as error:
            self.failures.append(repr(error))
        self.slowest_s = max(self.slowest_s, time.monotonic() - began_s)


@asynccontextmanager
async def websocket() -> AsyncIterator[ClientWebSocketResponse]:
    """Open a websocket through the gateway."""
    async with (
        ClientSession(timeout=ClientTimeout(15)) as session,
        session.ws_connect(f"http://127.0.0.1:{PORT}/echo") as ws,
    ):
        yield ws


async def echoed(ws: ClientWebSocketResponse, text: str) -> str:
    """Send a message and return what comes back."""
    await ws.send_str(text)
    return await ws.receive_str(timeout=15)


@asynccontextmanager
async def client(*, keep_alive: bool = True) -> AsyncIterator[Client]:
    connector = TCPConnector(force_close=not keep_alive, limit=0)
    async with ClientSession(connector=connector, timeout=ClientTimeout(15)) as session:
        yield Client(session)


@asynccontextmanager
async def load(gets: Client, *, per_s: int = 100) -> AsyncIterator[None]:
    """Send GETs at a steady pace while the body runs, then wait for all answers."""
    done = asyncio.Event()

    async def send(group: asyncio.TaskGroup) -> None:
        while not done.is_set():
            group.create_task(gets.get())
            await asyncio.sleep(1 / per_s)

    async with asyncio.TaskGroup() as group:
        group.create_task(send(group))
        try:
            yield
        finally:
            done.set()


def is_closed(port: int) -> bool:
    """Say whether nobody listens at a port of this host."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
