"""A request over HTTP/1.1 that never tries twice: what the load generator sends.

Client libraries send an idempotent request again when a kept connection drops. That is right for an
application and wrong for a measurement: it would hide the very failures that are counted here.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, NamedTuple, Self

HEAD_BYTES_MAX: Final = 64 * 1024
# Larger answers are refused: the generator measures requests, not downloads.
BODY_BYTES_MAX: Final = 16 * 1024 * 1024
# Why there was no answer. What was read in part no gateway can take back and ask for elsewhere.
UNREAD: Final = "closed before the answer began"
HALF_READ: Final = "closed in the middle of the answer"


class Answer(NamedTuple):
    """A whole answer; names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HalfReadError(ConnectionResetError):
    """A part of the answer had been read when the connection was closed."""


class Connection:
    """One connection that carries one request at a time. Any OSError means: throw it away.

    Attributes:
        opened_s: when, by whatever clock its owner goes by.
    """

    opened_s = 0.0

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._kept = True

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Return a new connection.

        Raises:
            OSError: nobody listens there, or the way there is closed.
        """
        return cls(*await asyncio.open_connection(host, port, limit=HEAD_BYTES_MAX))

    @property
    def is_reusable(self) -> bool:
        """Say whether another request may be sent: the last answer allowed it, nobody closed."""
        open_ = not (self._reader.at_eof() or self._writer.is_closing())
        return self._kept and open_ and self._reader.exception() is None

    def close(self) -> None:
        """Drop the connection at once; nothing that matters is in flight when we call this."""
        self._writer.transport.abort()

    async def send(
        self, method: str, host: str, path: str, *, keep: bool, body: bytes = b""
    ) -> Answer:
        """Send one request and read the whole answer.

        Args:
            method: GET or POST.
            host: the Host header's value.
            path: path and query.
            keep: whether to ask the server to keep the connection open.
            body: of a POST.

        Raises:
            HalfReadError: closed when a part of the answer had been read.
            ConnectionError: closed before it began, or the answer is not HTTP/1.x.
        """
        wish = "keep-alive" if keep else "close"
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {wish}\r\nAccept: */*\r\n"
        head += "\r\n" if method == "GET" else f"Content-Length: {len(body)}\r\n\r\n"
        self._kept = False  # until the answer is whole
        try:
            await self.write(head.encode("ascii") + body)
            version, status, headers = await self._head()
            try:
                content = await self._body(status, headers)
            except (asyncio.IncompleteReadError, ConnectionResetError) as error:
                raise HalfReadError from error
        except asyncio.LimitOverrunError as error:
            raise ConnectionAbortedError("not an HTTP answer") from error
        says = headers.get("connection", "").lower()
        # HTTP/1.0 closes unless it says otherwise, HTTP/1.1 keeps unless it says otherwise.
        offered = "keep-alive" in says if version == "HTTP/1.0" else "close" not in says
        self._kept = keep and offered and not self._reader.at_eof()
        return Answer(status, headers, content)

    async def upgrade(self, head: bytes) -> tuple[int, Mapping[str, str]]:
        """Send a request for another protocol; return status and headers of the answer's head.

        Raises:
            ConnectionError: as `send`.
        """
        self._kept = False
        try:
            await self.write(head)
            _, status, headers = await self._head()
        except asyncio.LimitOverrunError as error:
            raise ConnectionAbortedError("not an HTTP answer") from error
        return status, headers

    async def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def read(self, size: int) -> bytes:
        """Return at most `size` bytes as they come; none: the peer has closed."""
        return await self._reader.read(size)

    async def _head(self) -> tuple[str, int, dict[str, str]]:
        try:
            return _parse_head(await self._reader.readuntil(b"\r\n\r\n"))
        except asyncio.IncompleteReadError as error:
            raise (HalfReadError if error.partial else ConnectionResetError) from error

    async def _body(self, status: int, headers: Mapping[str, str]) -> bytes:
        """Return the body; one without a length ends with the connection."""
        if status in {204, 304}:
            return b""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return await self._chunks()
        if "content-length" in headers:
            return await self._exactly(_number(headers["content-length"], base=10))
        found = bytearray()
        while data := await self._reader.read(HEAD_BYTES_MAX):
            found += data
            if len(found) > BODY_BYTES_MAX:
                raise ConnectionAbortedError("answer too large")
        return bytes(found)

    async def _chunks(self) -> bytes:
        found = bytearray()
        while True:
            line = await self._reader.readuntil(b"\r\n")
            size = _number(line.split(b";")[0].decode("latin-1"), base=16)
            if size == 0:
                break
            found += (await self._exactly(size + len(b"\r\n")))[:size]
            if len(found) > BODY_BYTES_MAX:
                raise ConnectionAbortedError("answer too large")
        while await self._reader.readuntil(b"\r\n") != b"\r\n":
            pass  # trailers
        return bytes(found)

    async def _exactly(self, size: int) -> bytes:
        if size > BODY_BYTES_MAX:
            raise ConnectionAbortedError("answer too large")
        return await self._reader.readexactly(size)


def cause_of(error: OSError) -> str:
    """Return constant words for an error, so that equal causes are counted together."""
    match error:
        case TimeoutError():
            return "no answer in time"
        case ConnectionRefusedError():
            return "connection refused"
        case ConnectionAbortedError():
            return str(error)
        case HalfReadError():
            return HALF_READ
        case ConnectionResetError() | BrokenPipeError():
            return UNREAD
        case _:
            return error.strerror or type(error).__name__


def _parse_head(head: bytes) -> tuple[str, int, dict[str, str]]:
    first, *rest = head.decode("latin-1").split("\r\n")
    version, _, after = first.partition(" ")
    if not version.startswith("HTTP/1."):
        raise ConnectionAbortedError("not an HTTP answer")
    headers = {}
    for line in filter(None, rest):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return version, _number(after[:3], base=10), headers


def _number(text: str, *, base: int) -> int:
    try:
        return int(text.strip(), base)
    except ValueError as error:
        raise ConnectionAbortedError("not an HTTP answer") from error
