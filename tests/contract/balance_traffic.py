"""Servers that say who they are, and clients that ask them, in namespaces of balance_rig."""

import asyncio
import contextlib
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from tests.contract.balance_rig import VIP, Box

PORT: Final = 7000
_ANSWER_S: Final = 30.0


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, name: str) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, _: bytes, addr: tuple[str, Any]) -> None:
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
    await asyncio.get_running_loop().sock_connect(one, (box.says(to), port))
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

    def __init__(self, box: Box, to: str = VIP, port: int = PORT, own: str = "") -> None:
        self._socket = box.socket(socket.SOCK_DGRAM)
        self._socket.bind((own or box.address, 0))
        self._to = (box.says(to), port)

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
