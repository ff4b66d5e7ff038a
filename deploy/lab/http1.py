"""A request over HTTP/1.1 that never tries twice: what the load generator sends.

Client libraries send an idempotent request again when a kept connection drops. That is right for an
application and wrong for a measurement: it would hide the very failures that are counted here.
"""

import asyncio
from typing import Final, Self

HEAD_BYTES_MAX: Final = 64 * 1024
# Larger answers are refused: the generator measures requests, not downloads.
BODY_BYTES_MAX: Final = 16 * 1024 * 1024


class Connection:
    """One connection that carries one request at a time. Any OSError means: throw it away."""

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

    async def send(self, method: str, host: str, path: str, *, keep: bool) -> int:
        """Send one request without a body, read the whole answer, return its status.

        Args:
            method: GET or POST.
            host: the Host header's value.
            path: path and query.
            keep: whether to ask the server to keep the connection open.

        Raises:
            ConnectionError: closed before the answer was whole, or the answer is not HTTP/1.x.
        """
        wish = "keep-alive" if keep else "close"
        head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {wish}\r\nAccept: */*\r\n"
        head += "\r\n" if method == "GET" else "Content-Length: 0\r\n\r\n"
        self._kept = False  # until the answer is whole
        try:
            self._writer.write(head.encode("ascii"))
            await self._writer.drain()
            version, status, headers = _parse_head(await self._reader.readuntil(b"\r\n\r\n"))
            delimited = await self._skip_body(status, headers)
        except asyncio.IncompleteReadError as error:
            raise ConnectionResetError("closed before the answer was whole") from error
        except asyncio.LimitOverrunError as error:
            raise ConnectionAbortedError("not an HTTP answer") from error
        says = headers.get("connection", "").lower()
        # HTTP/1.0 closes unless it says otherwise, HTTP/1.1 keeps unless it says otherwise.
        offered = "keep-alive" in says if version == "HTTP/1.0" else "close" not in says
        self._kept = keep and delimited and offered
        return status

    async def _skip_body(self, status: int, headers: dict[str, str]) -> bool:
        """Read the body away; say whether it ended by itself, not by the connection's end."""
        if status in {204, 304}:
            return True
        if headers.get("transfer-encoding", "").lower() == "chunked":
            await self._skip_chunks()
            return True
        if "content-length" in headers:
            await self._skip(_number(headers["content-length"], base=10))
            return True
        while await self._reader.read(HEAD_BYTES_MAX):
            pass
        return False

    async def _skip_chunks(self) -> None:
        while True:
            line = await self._reader.readuntil(b"\r\n")
            size = _number(line.split(b";")[0].decode("latin-1"), base=16)
            if size == 0:
                break
            await self._skip(size + len(b"\r\n"))
        while await self._reader.readuntil(b"\r\n") != b"\r\n":
            pass  # trailers

    async def _skip(self, size: int) -> None:
        if size > BODY_BYTES_MAX:
            raise ConnectionAbortedError("answer too large")
        while size:
            size -= len(await self._reader.readexactly(min(size, HEAD_BYTES_MAX)))


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
