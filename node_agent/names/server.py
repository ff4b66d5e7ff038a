"""The name server's sockets: datagrams and connections in, answers out.

What to answer is decided elsewhere; here is only how much of it is borne at once.
"""

import asyncio
import socket
from collections import Counter
from typing import Final

import structlog

from node_agent.names.answer import Forward, Reply, answer
from node_agent.names.forward import PENDING_MAX, Forwarder
from node_agent.names.resolvers import HostServers
from node_agent.names.snapshot import Snapshot
from node_agent.names.table import Asker, Kept, Table

_log = structlog.get_logger()

# Questions to one table whose answers are kept as bytes, 200 to 20,000 of them each.
_KNOWN_MAX: Final = 4096
# A longer question is no resolver's.
_KNOWN_BYTES_MAX: Final = 320
# Of an answer whose addresses take turns, so many turns are kept.
_TURNS: Final = 16
# A question is a few dozen bytes; whoever sends more wants something else.
QUESTION_BYTES_MAX: Final = 4096
CLIENTS_MAX: Final = 128
CLIENTS_OF_ONE_MAX: Final = 16
# Between two questions of one connection. Resolvers ask at once and hang up.
IDLE_S: Final = 5.0
CONNECTION_S: Final = 60.0
# What one container may ask in a second, so that it does not take the others' turn: half a core's
# work. A question that was answered before takes 30 us, one that was not 10 times that and more.
QUESTIONS_OF_ONE_MAX: Final = 10_000
_NEW_COSTS: Final = 10
_FAILURES_LOGGED_MAX: Final = 20
_ID_BYTES: Final = 2
# Source: ip(7). The standard library has no name for it.
_IP_FREEBIND: Final = 15
_Key = tuple[Asker | str, bytes, bool]


class Server:
    """Answers questions of this node's containers.

    Args:
        own: its address.
        host: the node's own servers, for names that mean nothing here.
    """

    def __init__(self, own: str, host: HostServers) -> None:
        self._own, self._host = own, host
        self._forwarder = Forwarder()
        self._kept = Kept()
        self._table = Table(Snapshot(), own)
        self._known: dict[_Key, list[bytes | None]] = {}
        self._turn = 0
        self._asked: Counter[str] = Counter()
        self._second = 0
        self._clients: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def take(self, snapshot: Snapshot) -> None:
        """Answer from `snapshot` from now on.

        Raises:
            ValueError: it holds a network that is none; what was true stays true.
        """
        self._table = Table(snapshot, self._own, self._kept)
        self._known.clear()

    def quickly(self, address: str, wire: bytes, *, tcp: bool = False) -> bytes | Forward | None:
        """Return what is known without asking anybody; None: say nothing."""
        self._turn = (self._turn + 1) % _TURNS
        # The id is the only thing of a question that does not change what is answered, and who
        # sees the same is told the same: replicas of one service.
        key = (self._table.asker(address) or address, wire[_ID_BYTES:], tcp)
        known = self._known.get(key, ())
        found = known[self._turn % len(known)] if known else None
        if found is not None:
            self.counts["local"] += 1
            return wire[:_ID_BYTES] + found
        decided = self._decided(address, wire, tcp=tcp)
        if isinstance(decided, Forward):
            return decided
        self.counts[decided.kind] += 1
        if decided.kind == "local" and decided.wire is not None:
            self._keep(key, decided.wire[_ID_BYTES:], is_steady=decided.is_steady)
        return decided.wire

    def _keep(self, key: _Key, wire: bytes, *, is_steady: bool) -> None:
        if len(key[1]) > _KNOWN_BYTES_MAX:
            return
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        turns = self._known.setdefault(key, [None] * (1 if is_steady else _TURNS))
        turns[self._turn % len(turns)] = wire

    def _decided(self, address: str, wire: bytes, *, tcp: bool) -> Reply | Forward:
        self._asked[address] += _NEW_COSTS - 1
        host, turn = self._host.read(), self._turn
        try:
            return answer(self._table, address, wire, host=host, turn=turn, tcp=tcp)
        except Exception:  # noqa: BLE001 - see below
            # A bug; but whoever found the question that shows it must not silence all the others.
            if self.counts["failed"] < _FAILURES_LOGGED_MAX:
                _log.exception("answer_failed", asker=address, question=wire[:64].hex())
            return Reply(None, "failed")

    def is_too_many(self, address: str) -> bool:
        """Count a question; say whether that container has asked too many in this second."""
        second = int(asyncio.get_running_loop().time())
        if second != self._second:
            self._second = second
            self._asked.clear()
        self._asked[address] += 1
        return self._asked[address] > QUESTIONS_OF_ONE_MAX

    async def fully(self, address: str, forward: Forward) -> bytes:
        """Return what others say."""
        wire, kind = await self._forwarder.ask(forward, address)
        self.counts[kind] += 1
        return wire

    # ------------------------------------------------------------ connections

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the questions of one connection, one after another."""
        peer = writer.get_extra_info("peername")
        address = str(peer[0]) if peer else ""
        self._clients[address] += 1
        try:
            if (
                self._clients.total() <= CLIENTS_MAX
                and self._clients[address] <= CLIENTS_OF_ONE_MAX
            ):
                async with asyncio.timeout(CONNECTION_S):
                    while await self._one_question(address, reader, writer):
                        pass
            else:
                self.counts["crowded"] += 1
        except (OSError, EOFError, TimeoutError):
            pass  # It hung up, or it is too slow: that is its own affair.
        finally:
            self._clients[address] -= 1
            self._clients += Counter()  # Forgets who has none.
            writer.close()

    async def _one_question(
        self, address: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        async with asyncio.timeout(IDLE_S):
            length = int.from_bytes(await reader.readexactly(2), "big")
            if length > QUESTION_BYTES_MAX:
                return False
            wire = await reader.readexactly(length)
        if self.is_too_many(address):
            return False
        found = self.quickly(address, wire, tcp=True)
        if isinstance(found, Forward):
            found = await self.fully(address, found)
        if found is None:
            return False
        writer.write(len(found).to_bytes(2, "big") + found)
        async with asyncio.timeout(IDLE_S):
            await writer.drain()
        return True


class Datagrams(asyncio.DatagramProtocol):
    """Answers questions that come as datagrams."""

    def __init__(self, server: Server, group: asyncio.TaskGroup) -> None:
        self._server, self._group = server, group
        self._waiting = 0
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        """Remember where answers go out."""
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer at once, or when others have answered."""
        if self._server.is_too_many(addr[0]):
            self._server.counts["crowded"] += 1
            return
        found = self._server.quickly(addr[0], data)
        if not isinstance(found, Forward):
            self._send(found, addr)
        elif self._waiting < 2 * PENDING_MAX:
            self._waiting += 1
            self._group.create_task(self._later(found, addr))
        else:
            self._server.counts["crowded"] += 1

    async def _later(self, forward: Forward, addr: tuple[str, int]) -> None:
        try:
            self._send(await self._server.fully(addr[0], forward), addr)
        finally:
            self._waiting -= 1

    def _send(self, wire: bytes | None, addr: tuple[str, int]) -> None:
        if wire is not None and self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(wire, addr)

    def error_received(self, exc: Exception) -> None:
        """Go on: a container that asked may be gone by now."""
        _log.debug("datagram_failed", reason=str(exc))


def bound(kind: socket.SocketKind, address: str, port: int) -> socket.socket:
    """Return a socket that is bound, also while the link with `address` is still to be made.

    A successor may bind it, too, before its predecessor has let go: so no question finds nobody.

    Raises:
        OSError: another program has it.
    """
    found = socket.socket(socket.AF_INET, kind)
    try:
        found.setblocking(False)  # noqa: FBT003 - the standard library's
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if kind is socket.SOCK_STREAM:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        found.bind((address, port))
    except OSError:
        found.close()
        raise
    return found
