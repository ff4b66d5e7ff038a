"""Services with routes, and requests for hosts that no name server knows."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from aiohttp import web

from shared.model import (
    Affinity,
    Endpoint,
    HttpRoute,
    Revision,
    Routes,
    ServiceName,
    ServiceRoutes,
    StackName,
    Traffic,
)
from shared.settings import GatewaySettings
from tests.contract.gateway_rig import TARGET, Served

# Replicas listen on 80.
HTTP: Final = 8081
HTTPS: Final = 8443
PORTS: Final = GatewaySettings(http_port=HTTP, https_port=HTTPS)
ANSWER_S: Final = 15.0


class Answer(msgspec.Struct, frozen=True):
    """What came back. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: str


def routed(
    stack: str,
    routes: Sequence[HttpRoute],
    *endpoints: Endpoint,
    revision: int = 1,
    traffic: Traffic | None = None,
    affinity: Affinity = Affinity.NONE,
) -> Served:
    service = ServiceRoutes(
        service=ServiceName("web"),
        ports=(),
        endpoints=endpoints,
        replicas=1,
        routes=tuple(routes),
        traffic=traffic if traffic is not None else Traffic(),
        affinity=affinity,
    )
    name = StackName(stack)
    return {name: (Revision(revision), Routes(stack=name, services=(service,)))}


def route(place: str, **more: object) -> HttpRoute:
    host, slash, path = place.partition("/")
    return msgspec.structs.replace(
        HttpRoute(host=host, path=slash + path or "/", port=TARGET), **more
    )


async def ask(
    place: str,
    *,
    method: str = "GET",
    headers: Sequence[str] = (),
    port: int = HTTP,
    before: bytes = b"",
    address: str = "127.0.0.1",
) -> Answer:
    """Send one request on a connection of its own; `before` is what the connection begins with."""
    return await answered(
        asyncio.open_connection(address, port), before + request(place, method, headers)
    )


def request(place: str, method: str = "GET", headers: Sequence[str] = ()) -> bytes:
    host, slash, path = place.partition("/")
    lines = [f"{method} {slash + path or '/'} HTTP/1.1", f"Host: {host}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode()


async def answered(
    opening: Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]], said: bytes
) -> Answer:
    """Say something on a connection, once it is open, and read until its end."""
    async with asyncio.timeout(ANSWER_S):
        reader, writer = await opening
        writer.write(said)
        try:
            return read(await reader.read(-1))
        finally:
            writer.close()


def read(raw: bytes) -> Answer:
    head, _, body = raw.decode(errors="replace").partition("\r\n\r\n")
    first, *rest = head.split("\r\n")
    pairs = (line.partition(": ") for line in rest)
    return Answer(int(first.split()[1]), {n.lower(): value for n, _, value in pairs}, body)


@asynccontextmanager
async def echoing(address: str, port: int = TARGET) -> AsyncIterator[None]:
    """Serve the headers of every request, one a line."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text="\n".join(f"{n.lower()}: {v}" for n, v in request.headers.items()))

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, address, port).start()
    try:
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def ending(address: str, into: list[bytes]) -> AsyncIterator[None]:
    """Read requests, keep them, and answer none, as a program does that ends because of them."""

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        into.append(await reader.read(4096))
        writer.close()

    server = await asyncio.start_server(taken, address, TARGET, family=socket.AF_INET)
    async with server:
        yield


@asynccontextmanager
async def recording(address: str, into: list[bytes]) -> AsyncIterator[None]:
    """Take connections, keep what each begins with, and answer as HTTP."""

    async def taken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        into.append(await reader.read(4096))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(taken, address, TARGET, family=socket.AF_INET)
    async with server:
        yield
