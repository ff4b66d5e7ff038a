"""A post in one network namespace: sends probes from there, and hears those of others.

Linux. Sockets belong to the namespace that they were made in for ever, so only making them happens
inside it; everything else is done by the event loop.
"""

import asyncio
import contextlib
import ctypes
import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from node_agent.network.probe_packets import (
    MARK,
    MARK_AT,
    QUOTED_MARK_AT,
    Arrival,
    Heard,
    arrival,
    dns_answer,
    dns_query,
    echo_request,
    payload,
)
from shared.api import Probe, ProbeKind, ProbeResult, ProbeState

# One packet may be lost for any reason; of three in a row none gets through only where none can.
_TRIES: Final = 3
_TRY_S: Final = 0.35
# A SYN that was lost is sent again after a second.
_CONNECT_S: Final = 1.5
# Largest packets of common links and tunnels, in bytes: where a path ends, one of these passes.
_LADDER: Final = (8950, 4000, 1500, 1492, 1480, 1476, 1450, 1430, 1420, 1400, 1380, 1280, 576)
_PACKET_BYTES_MAX: Final = 65535
# linux/in.h, linux/filter.h
_IP_MTU: Final = 14
_IP_MTU_DISCOVER: Final = 10
_IP_PMTUDISC_PROBE: Final = 3  # don't fragment, whatever the kernel has heard of the path
_SO_ATTACH_FILTER: Final = 26
_BPF_LD_W_ABS, _BPF_JEQ_K, _BPF_RET_K = 0x20, 0x15, 0x06
# A busy host gives a raw socket everything it hears: the kernel drops what has no mark, before it
# costs anything. Each step is code, jump if true, jump if false, value.
_FILTER: Final = (
    (_BPF_LD_W_ABS, 0, 0, MARK_AT),
    (_BPF_JEQ_K, 2, 0, MARK),
    (_BPF_LD_W_ABS, 0, 0, QUOTED_MARK_AT),
    (_BPF_JEQ_K, 0, 1, MARK),
    (_BPF_RET_K, 0, 0, 0x40000),
    (_BPF_RET_K, 0, 0, 0),
)

# Runs a function inside the namespace and returns what it returns.
Inside = Callable[[Callable[[], socket.socket]], socket.socket]


class Station:
    """Sends and hears in one namespace for one run; use it inside `with`, in an event loop."""

    def __init__(self, run: int, inside: Inside) -> None:
        self._run, self._inside = run, inside
        self._icmp, self._udp = inside(_icmp), inside(_udp_listener)
        self._arrived: dict[int, list[Arrival]] = {}
        self._news = asyncio.Event()
        self.heard: set[int] = set()

    def __enter__(self) -> Self:
        """Begin to hear."""
        for one in (self._icmp, self._udp):
            asyncio.get_running_loop().add_reader(one, self._drain, one)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hear no more."""
        for one in (self._icmp, self._udp):
            asyncio.get_running_loop().remove_reader(one)
            one.close()

    async def probe(self, one: Probe) -> ProbeResult:
        """Return what became of a probe; it ends within some two seconds, whatever is broken."""
        try:
            match one.kind:
                case ProbeKind.ICMP:
                    return await self._echo(one)
                case ProbeKind.MTU:
                    return await self._largest(one)
                case ProbeKind.UDP:
                    return await self._datagram(one)
                case ProbeKind.TCP:
                    return await self._connect(one)
                case ProbeKind.DNS:
                    return await self._query(one)
        except (OSError, ValueError) as error:
            return _result(one, ProbeState.LOST, why=_words(error))

    def _drain(self, one: socket.socket) -> None:
        with contextlib.suppress(OSError):  # nothing more, or an error that is cleared so
            while True:
                found = arrival(one.recv(_PACKET_BYTES_MAX))
                if found is None or found.run != self._run:
                    continue
                if found.kind is Heard.PROBE:
                    self.heard.add(found.id)
                else:
                    self._arrived.setdefault(found.id, []).append(found)
                    self._news.set()

    async def _answer(self, id_: int, sizes: frozenset[int] = frozenset()) -> Arrival | None:
        """Return the first word on a probe within a try; a reply only with one of `sizes`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_TRY_S):
                while True:
                    for found in self._arrived.get(id_, ()):
                        if found.kind is not Heard.REPLY or not sizes or found.size in sizes:
                            return found
                    self._news.clear()
                    await self._news.wait()
        return None

    async def _echo(self, one: Probe) -> ProbeResult:
        for number in range(_TRIES):
            self._send(one, number)
            found = await self._answer(one.id)
            if found is not None:
                return _told(one, found)
        return _result(one, ProbeState.LOST)

    def _send(self, one: Probe, number: int, packet_bytes: int = 0) -> None:
        data = echo_request(self._run, one.id, number, packet_bytes)
        with contextlib.suppress(BlockingIOError):  # a full queue: it is sent again
            self._icmp.sendto(data, (one.address, 0))

    async def _largest(self, one: Probe) -> ProbeResult:
        """Try as large as the link is; where that is lost and nobody says why, look what passes."""
        full = await self._link_mtu(one)
        for number in range(_TRIES):
            self._send(one, number, full)
            found = await self._answer(one.id, frozenset({full}))
            if found is None:
                continue
            if found.kind is Heard.TOO_LARGE and 0 < found.mtu < full:
                # The path is narrower and says so: senders learn it, and all is well.
                full = found.mtu
                self._arrived.pop(one.id, None)
                continue
            if found.kind is Heard.REPLY:
                return _result(one, ProbeState.OK, mtu=full)
            return _told(one, found)
        return _result(one, ProbeState.LOST, mtu=await self._passing(one, full))

    async def _passing(self, one: Probe, below: int) -> int:
        """Return the largest size of the ladder that comes back, in bytes; 0: none."""
        for number in range(_TRIES):
            for size in _LADDER:
                if size < below:
                    with contextlib.suppress(OSError):
                        self._send(one, _TRIES + number, size)
            await asyncio.sleep(_TRY_S)
        replies = (each for each in self._arrived.get(one.id, ()) if each.kind is Heard.REPLY)
        return max((reply.size for reply in replies), default=0)

    async def _link_mtu(self, one: Probe) -> int:
        with self._inside(_datagrams) as probe:
            probe.connect((one.address, 9))
            return probe.getsockopt(socket.IPPROTO_IP, _IP_MTU)

    async def _datagram(self, one: Probe) -> ProbeResult:
        """Send to a port; that it arrived is known by the far side's ear or by its refusal."""
        with self._inside(_datagrams) as out:
            for _ in range(_TRIES):
                with contextlib.suppress(BlockingIOError, ConnectionRefusedError):
                    out.sendto(payload(self._run, one.id), (one.address, one.port))
                found = await self._answer(one.id)
                if found is not None:
                    return _told(one, found)
        return _result(one, ProbeState.LOST)

    async def _connect(self, one: Probe) -> ProbeResult:
        loop = asyncio.get_running_loop()
        with self._inside(_stream) as out:
            try:
                async with asyncio.timeout(_CONNECT_S):
                    await loop.sock_connect(out, (one.address, one.port))
            except TimeoutError:
                return _result(one, ProbeState.LOST)
            except ConnectionRefusedError:
                return _result(one, ProbeState.REFUSED, why="it refuses the connection")
        return _result(one, ProbeState.OK)

    async def _query(self, one: Probe) -> ProbeResult:
        loop, id_ = asyncio.get_running_loop(), (self._run + one.id) & 0xFFFF
        with self._inside(_datagrams) as out:
            out.connect((one.address, one.port))
            for _ in range(_TRIES):
                try:
                    async with asyncio.timeout(_TRY_S):
                        await loop.sock_sendall(out, dns_query(id_, one.name))
                        while (code := dns_answer(id_, await loop.sock_recv(out, 4096))) is None:
                            pass
                except TimeoutError:
                    continue
                except ConnectionRefusedError:
                    return _result(one, ProbeState.REFUSED, why="nothing listens there")
                state = ProbeState.REFUSED if code in {"SERVFAIL", "REFUSED"} else ProbeState.OK
                return _result(one, state, why=f"it answers {code}")
        return _result(one, ProbeState.LOST)


def _result(one: Probe, state: ProbeState, *, mtu: int = 0, why: str = "") -> ProbeResult:
    return ProbeResult(id=one.id, state=state, mtu=mtu, why=why)


def _told(one: Probe, found: Arrival) -> ProbeResult:
    """Return what an answer means: whoever says that the port is closed was reached."""
    is_reached = found.kind in {Heard.REPLY, Heard.CLOSED}
    return _result(one, ProbeState.OK if is_reached else ProbeState.LOST, why=found.why)


def _words(error: OSError | ValueError) -> str:
    said = error.strerror if isinstance(error, OSError) else None
    return f"this node's kernel says: {said}" if said else str(error)


def _icmp() -> socket.socket:
    one = _marked_only(socket.IPPROTO_ICMP)
    one.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, _IP_PMTUDISC_PROBE)
    return one


def _udp_listener() -> socket.socket:
    return _marked_only(socket.IPPROTO_UDP)


def _marked_only(protocol: int) -> socket.socket:
    """Return a raw socket that is given nothing but packets with our mark."""
    one = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol)
    steps = b"".join(struct.pack("=HBBI", *step) for step in _FILTER)
    kept = (ctypes.c_char * len(steps)).from_buffer_copy(steps)
    program = struct.pack("HP", len(_FILTER), ctypes.addressof(kept))  # struct sock_fprog
    one.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
    return one


def _datagrams() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)


def _stream() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
