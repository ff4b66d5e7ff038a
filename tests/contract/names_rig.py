"""A name server in a network namespace: who asks it, and whom it asks."""

import asyncio
import os
import socket
import struct
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rdatatype
import dns.rrset

from node_agent.names.keeper import NamesKeeper
from node_agent.names.snapshot import SOCKET, Snapshot
from node_agent.network import namespaces
from tests.build_names import OWN, local, replica, routes, service, snapshot
from tests.waiting import until

T = TypeVar("T")

A, B, STRANGER = "198.19.1.2", "198.19.1.3", "198.19.1.99"
UPSTREAM, SECOND = "198.18.0.53", "198.18.0.54"
MANY: Final = 150
_WAIT_S: Final = 8.0


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Rig:
    """A node with one container that has three addresses, and a name server to be started."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.pin = folder, folder / "container"
        self.resolv_conf = folder / "resolv.conf"
        self.resolv_conf.write_text(f"nameserver {UPSTREAM}\n")
        self.keeper = self.new_keeper()

    def new_keeper(self) -> NamesKeeper:
        """Return what an agent has that has just begun."""
        return NamesKeeper(OWN, self.folder)

    def set_up(self, *, address: bool = True) -> None:
        subprocess.run(["mount", "--bind", self.resolv_conf, "/etc/resolv.conf"], check=True)
        namespaces.make(self.pin)
        ip("link", "set", "lo", "up")
        for one in (UPSTREAM, SECOND):
            ip("addr", "add", f"{one}/32", "dev", "lo")
        ip("link", "add", "hafen0", "type", "veth", "peer", "name", "eth0")
        with self.pin.open() as file:
            os.set_inheritable(file.fileno(), True)
            ip("link", "set", "eth0", "netns", str(self.pin))
        namespaces.enter(self.pin, _inside)
        ip("link", "set", "hafen0", "up")
        if address:
            self.give_address()

    def give_address(self) -> None:
        ip("addr", "add", f"{OWN}/24", "dev", "hafen0")

    def take_address(self) -> None:
        ip("addr", "del", f"{OWN}/24", "dev", "hafen0")

    @property
    def pid(self) -> int:
        """Return the process that listens where the agent talks to it."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(self.folder / "names" / SOCKET))
            peer = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        found: int = struct.unpack("3i", peer)[0]
        return found

    async def inside(self, work: Callable[[], T]) -> T:
        """Return what `work` returns in the container's network."""
        return await asyncio.to_thread(namespaces.enter, self.pin, work)

    async def ask(
        self, name: str, rdtype: str = "A", *, of: str = A, tcp: bool = False
    ) -> dns.message.Message:
        query = dns.message.make_query(name, rdtype, use_edns=0, payload=1232)
        by = dns.query.tcp if tcp else dns.query.udp
        return await self.inside(lambda: by(query, OWN, timeout=_WAIT_S, source=of))

    async def addresses(self, name: str, *, of: str = A) -> list[str]:
        return sorted(str(each) for rrset in (await self.ask(name, of=of)).answer for each in rrset)


def _inside() -> None:
    ip("link", "set", "lo", "up")
    for one in (A, B, STRANGER):
        ip("addr", "add", f"{one}/24", "dev", "eth0")
    ip("link", "set", "eth0", "up")


def cluster(*web: str, dns: tuple[str, ...] = ()) -> Snapshot:
    """Return a stack with a service of these replicas, one of many, and one on another network."""
    many = [replica(f"shop.many.{n}.a", f"198.19.2.{n}") for n in range(1, MANY + 1)]
    shop = routes(
        "shop",
        service("vip", vip="198.19.254.1"),
        service("web", *(replica(f"shop.web.{n}.a", one) for n, one in enumerate(web, 1))),
        service("many", *many),
        service("back", replica("shop.back.1.a", "198.19.3.1"), on=("back",)),
    )
    containers = (local(A, "shop_default", dns=dns), local(B, "back"))
    return snapshot(shop, containers=containers)


class Upstream(asyncio.DatagramProtocol):
    """A name server of the outside world, as bad as the name that is asked for says."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        how = query.question[0].name.labels[0].decode()
        self.asked[how] += 1
        if how == "late" and self.asked[how] == 1:
            late = self.answer(query, "192.0.2.66").to_wire()
            asyncio.get_running_loop().call_later(1.3, self._send, late, addr)
            return
        if how.startswith("slow"):
            loop = asyncio.get_running_loop()
            loop.call_later(0.5, self._send, self.answer(query).to_wire(), addr)
            return
        forged = {"forged": 1, "flooded": 20}.get(how, 0)
        for wire in self._forgeries(query) * forged:
            self._send(wire, addr)
        if how == "forged":
            self._send_from_elsewhere(self.answer(query, "192.0.2.66").to_wire(), addr)
        if how not in {"held", "flooded"} and (how, self.asked[how]) != ("lost", 1):
            self._send(self._worse(how, query).to_wire(), addr)

    def _worse(self, how: str, query: dns.message.Message) -> dns.message.Message:
        response = self.answer(query)
        if how == "cut":
            response.flags |= dns.flags.TC
            response.answer.clear()
        if how == "broken":
            response.answer.clear()
            response.set_rcode(dns.rcode.SERVFAIL)
        return response

    def answer(self, query: dns.message.Message, address: str = "192.0.2.1") -> dns.message.Message:
        response = dns.message.make_response(query, recursion_available=True)
        name = query.question[0].name
        if name.labels[0] == b"absent":
            response.set_rcode(dns.rcode.NXDOMAIN)
            soa = "ns. nobody. 1 2 3 4 60"
            response.authority.append(dns.rrset.from_text("example.", 60, "IN", "SOA", soa))
        elif query.question[0].rdtype == dns.rdatatype.MX:
            response.answer.append(dns.rrset.from_text(name, 60, "IN", "MX", f"10 mail.{name}"))
        else:
            response.answer.append(dns.rrset.from_text(name, 60, "IN", "A", address))
        return response

    def _forgeries(self, query: dns.message.Message) -> list[bytes]:
        wrong_id = self.answer(query, "192.0.2.66")
        wrong_id.id = query.id ^ 1
        other = dns.message.make_query("other.example", "A", id=query.id)
        return [wrong_id.to_wire(), self.answer(other, "192.0.2.66").to_wire(), b"garbage", b""]

    def _send(self, wire: bytes, addr: tuple[str, int]) -> None:
        assert self._transport is not None
        self._transport.sendto(wire, addr)

    def _send_from_elsewhere(self, wire: bytes, addr: tuple[str, int]) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as forger:
            forger.sendto(wire, addr)

    async def by_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2), "big")
        query = dns.message.from_wire(await reader.readexactly(length))
        response = self.answer(query, "192.0.2.7")
        response.answer[0].add(dns.rrset.from_text("a.", 60, "IN", "A", "192.0.2.8")[0])
        writer.write(response.to_wire(prepend_length=True))
        await writer.drain()
        writer.close()


@asynccontextmanager
async def upstream(address: str = UPSTREAM) -> AsyncIterator[Upstream]:
    one = Upstream()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: one, local_addr=(address, 53))
    server = await asyncio.start_server(one.by_tcp, address, 53)
    try:
        yield one
    finally:
        transport.close()
        server.close()


async def ended(pid: int) -> None:
    """Return when the process is gone."""
    await until(lambda: not _lives(pid), 10)


def _lives(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"
