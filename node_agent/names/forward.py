"""Asking other name servers, and believing only what they alone can have said.

Each try has a socket of its own that is connected to the server: the kernel chooses its port at
random and lets in nothing but that server's datagrams. What has another id or another question is
forged or late, and is passed over.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Hashable
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import structlog

from node_agent.names.answer import Forward
from node_agent.names.cache import Cache
from node_agent.names.messages import TCP_BYTES_MAX, UDP_BYTES_MAX, Query, failure, response_to

_log = structlog.get_logger()

PORT: Final = 53
# One try; a server that is well answers within some 100 ms.
TRY_S: Final = 1.0
# Resolvers in containers ask again after 5 s: they should hear before that how it went.
TOTAL_S: Final = 4.5
_ROUNDS: Final = 2
# Of one try. Whoever forges more of them has a chance of 1 in 400 million that one fits.
WRONG_MAX: Final = 10
# At once. Each takes a socket and some 20 KB.
PENDING_MAX: Final = 256
# Of one container: it must not keep the others from asking.
PENDING_OF_ONE_MAX: Final = 64

# What a server says that has failed, or does not want us: another may be better.
_FAILURES: Final = frozenset(
    {dns.rcode.SERVFAIL, dns.rcode.REFUSED, dns.rcode.NOTIMP, dns.rcode.FORMERR}
)


class Forwarder:
    """Asks others, and remembers for a while what they said.

    Args:
        rng: for ids; unpredictable ones, unless in a test.
    """

    def __init__(self, rng: random.Random | None = None) -> None:
        self._rng = rng or random.SystemRandom()
        self._cache = Cache()
        self._flights: dict[Hashable, asyncio.Future[dns.message.Message | None]] = {}
        self._pending: Counter[str] = Counter()

    async def ask(self, forward: Forward, address: str) -> tuple[bytes, str]:
        """Return what to send to a container, and which counter it is for.

        Args:
            forward: the question, and whom to ask.
            address: the container's, for its share.
        """
        query, now_s = forward.query, asyncio.get_running_loop().time()
        key = _key(forward)
        known = self._cache.get(key, now_s)
        if known is not None:
            return _relayed(query, *known), "remembered"
        if self._pending.total() >= PENDING_MAX or self._pending[address] >= PENDING_OF_ONE_MAX:
            return failure(query, dns.rcode.SERVFAIL), "crowded"
        self._pending[address] += 1
        try:
            message = await self._together(key, forward)
        finally:
            self._pending[address] -= 1
            self._pending += Counter()  # Forgets who has none.
        if message is None:
            return failure(query, dns.rcode.SERVFAIL), "unanswered"
        return _relayed(query, message, 0), "forwarded"

    async def _together(self, key: Hashable, forward: Forward) -> dns.message.Message | None:
        """Ask once for all who ask the same now: forgers get no second chance, servers less to do.

        Source: RFC 5452, section 5.
        """
        flight = self._flights.get(key)
        if flight is not None:
            return await asyncio.shield(flight)
        loop = asyncio.get_running_loop()
        flight = self._flights[key] = loop.create_future()
        message = None
        try:
            message = await self._ask_all(forward)
        finally:
            del self._flights[key]
            flight.set_result(message)
        if message is not None:
            self._cache.put(key, message, loop.time())
        return message

    async def _ask_all(self, forward: Forward) -> dns.message.Message | None:
        """Return the first good answer of any server, else a bad one, else None."""
        bad: dict[str, dns.message.Message] = {}
        try:
            async with asyncio.timeout(TOTAL_S):
                for server in forward.servers * _ROUNDS:
                    if server in bad:
                        continue  # It has spoken: only what is silent is asked again.
                    found = await self._ask_one(forward.query, server)
                    if found is not None and found.rcode() not in _FAILURES:
                        return found
                    if found is not None:
                        bad[server] = found
        except TimeoutError:
            pass
        return next(iter(bad.values()), None)

    async def _ask_one(self, query: Query, server: str) -> dns.message.Message | None:
        asked = self._question(query)
        try:
            async with asyncio.timeout(TRY_S):
                found = await _by_udp(asked, server)
                if found is None or found.flags & dns.flags.TC:
                    found = await _by_tcp(asked, server)
        except (OSError, TimeoutError, EOFError) as error:
            _log.debug("server_silent", server=server, reason=repr(error))
            return None
        return found

    def _question(self, query: Query) -> dns.message.Message:
        passed = dns.flags.RD | dns.flags.CD | dns.flags.AD
        return dns.message.make_query(
            query.name,
            query.rdtype,
            use_edns=0,
            ednsflags=max(query.message.ednsflags, 0) & dns.flags.DO,
            payload=UDP_BYTES_MAX,
            flags=query.message.flags & passed,
            id=self._rng.getrandbits(16),
        )


def _key(forward: Forward) -> Hashable:
    """Return what makes two questions one: containers with servers of their own see other names."""
    message, query = forward.query.message, forward.query
    flags = message.flags & (dns.flags.RD | dns.flags.CD | dns.flags.AD)
    do = max(message.ednsflags, 0) & dns.flags.DO
    return (query.labels, query.rdtype, flags, do, forward.servers)


def _relayed(query: Query, message: dns.message.Message, age_s: int) -> bytes:
    """Return another server's answer as one to this query, `age_s` seconds later."""
    response = response_to(query)
    response.flags |= message.flags & (dns.flags.AD | dns.flags.CD)
    response.set_rcode(message.rcode())
    for theirs, ours in (
        (message.answer, response.answer),
        (message.authority, response.authority),
        (message.additional, response.additional),
    ):
        ours.extend(_aged(each, age_s) for each in theirs)
    return response.to_wire(max_size=query.bytes_max, prefer_truncation=True)


def _aged(rrset: dns.rrset.RRset, age_s: int) -> dns.rrset.RRset:
    if age_s == 0 or not len(rrset):
        return rrset
    return dns.rrset.from_rdata_list(rrset.name, max(rrset.ttl - age_s, 0), list(rrset))


def _read(asked: dns.message.Message, wire: bytes) -> dns.message.Message | None:
    """Return the answer in `wire`; None: it is none to what was asked."""
    try:
        message = dns.message.from_wire(wire, ignore_trailing=True)
        return message if asked.is_response(message) else None
    except (dns.exception.DNSException, ValueError, OverflowError):
        return None


class _Try(asyncio.DatagramProtocol):
    """Waits for the one datagram that answers; `found` is None after too many that do not."""

    def __init__(self, asked: dns.message.Message) -> None:
        self._asked, self._wrong = asked, 0
        self.found: asyncio.Future[dns.message.Message | None] = (
            asyncio.get_running_loop().create_future()
        )

    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:  # noqa: ARG002 - asyncio's
        """Take it if it answers."""
        message = _read(self._asked, data)
        self._wrong += message is None
        if not self.found.done() and (message is not None or self._wrong > WRONG_MAX):
            self.found.set_result(message)

    def error_received(self, exc: Exception) -> None:
        """Give up at once where the kernel knows that nobody listens."""
        if not self.found.done():
            self.found.set_exception(exc)


async def _by_udp(asked: dns.message.Message, server: str) -> dns.message.Message | None:
    """Return the server's answer; None: somebody forges answers, so ask by TCP.

    Raises:
        OSError: the kernel knows that the server cannot be reached.
    """
    transport, one = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Try(asked), remote_addr=(server, PORT)
    )
    try:
        transport.sendto(asked.to_wire())
        return await one.found
    finally:
        transport.close()


async def _by_tcp(asked: dns.message.Message, server: str) -> dns.message.Message | None:
    """Return the server's answer, whole.

    Raises:
        OSError: it refuses.
        EOFError: it hung up.
    """
    reader, writer = await asyncio.open_connection(server, PORT)
    try:
        writer.write(asked.to_wire(prepend_length=True))
        await writer.drain()
        length = int.from_bytes(await reader.readexactly(2), "big")
        assert length <= TCP_BYTES_MAX, "two bytes hold no more"
        return _read(asked, await reader.readexactly(length))
    finally:
        writer.close()
