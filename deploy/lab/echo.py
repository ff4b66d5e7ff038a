"""The web server of the `echo` image: what a rollout is tried with. Standard library only.

`python3 -m deploy.lab.echo --version 2` answers GET with its host's name, address and version, POST
with the body, and echoes websocket messages; every answer has the headers X-Version and X-Replica.
SIGTERM: it listens no more, answers what is under way, says goodbye to its websockets, ends with 0.
With `--sick` /health answers 503, with `--crash-after 3` it ends with 1 after so many seconds.
"""

import argparse
import asyncio
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from deploy.lab.frames import GOING_AWAY, FrameError, Opcode, accept_of, closing, encode, take

_HEAD_BYTES_MAX: Final = 64 * 1024
_BODY_BYTES_MAX: Final = 16 * 1024 * 1024
# Less than a container gets between SIGTERM and SIGKILL, so that its end is its own.
_GOODBYE_S: Final = 0.8


class Echo:
    """One server."""

    def __init__(self, version: str, replica: str, *, is_sick: bool) -> None:
        self._version, self._replica, self._is_sick = version, replica, is_sick
        self._stop = asyncio.Event()
        self._idle: set[asyncio.StreamWriter] = set()
        self._sockets: set[asyncio.StreamWriter] = set()
        self._busy = 0
        self._done = asyncio.Event()

    def stop(self) -> None:
        """Take nothing new and end as soon as all that is under way is answered."""
        self._stop.set()

    async def run(self, port: int, crash_after_s: float | None) -> int:
        """Serve until `stop`; return the exit code."""
        server = await asyncio.start_server(self._serve, "0.0.0.0", port, limit=_HEAD_BYTES_MAX)
        print(f"version {self._version} answers on {self._replica}, port {port}", flush=True)  # noqa: T201 - the container's log
        try:
            async with asyncio.timeout(crash_after_s):
                await self._stop.wait()
        except TimeoutError:
            print("crashes, as it was told to", flush=True)  # noqa: T201 - the container's log
            return 1
        server.close()
        for writer in self._idle:
            writer.close()
        for writer in self._sockets:
            writer.write(closing(GOING_AWAY))
        try:
            async with asyncio.timeout(_GOODBYE_S):
                while self._busy or self._sockets:
                    self._done.clear()
                    await self._done.wait()
        except TimeoutError:
            print(f"leaves {self._busy} requests, {len(self._sockets)} sockets", flush=True)  # noqa: T201 - the container's log
        return 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer_one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, FrameError):
            pass  # whoever sent that has gone, or is no client of ours
        finally:
            self._idle.discard(writer)
            writer.close()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; say whether another may follow on the connection."""
        self._idle.add(writer)
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        self._idle.discard(writer)
        self._busy += 1
        try:
            headers = {
                name.lower(): value.strip()
                for name, _, value in (line.partition(":") for line in lines)
            }
            method, path, *_ = [*first.split(" "), "", ""]
            if headers.get("upgrade", "").lower() == "websocket":
                writer.write(self._upgraded(headers["sec-websocket-key"]))
            else:
                size = min(int(headers.get("content-length", "0")), _BODY_BYTES_MAX)
                body = await reader.readexactly(size)
                is_kept = headers.get("connection", "").lower() != "close"
                is_kept = is_kept and not self._stop.is_set()
                writer.write(self._answer(method, path, body, is_kept=is_kept))
                await writer.drain()
                return is_kept
        finally:
            self._busy -= 1
            self._done.set()
        await self._echo(reader, writer)
        return False

    def _answer(self, method: str, path: str, body: bytes, *, is_kept: bool) -> bytes:
        status = "503 Service Unavailable" if self._is_sick and path == "/health" else "200 OK"
        if method != "POST":
            body = f"{socket.gethostname()} {self._replica} {self._version}\n".encode()
        head = self._head(
            status,
            {
                "Content-Length": str(len(body)),
                "Connection": "keep-alive" if is_kept else "close",
            },
        )
        return head + (b"" if method == "HEAD" else body)

    def _upgraded(self, key: str) -> bytes:
        headers = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Accept": accept_of(key),
        }
        return self._head("101 Switching Protocols", headers)

    def _head(self, status: str, headers: Mapping[str, str]) -> bytes:
        own = {"X-Version": self._version, "X-Replica": self._replica}
        lines = [f"{name}: {value}" for name, value in {**own, **headers}.items()]
        return "\r\n".join([f"HTTP/1.1 {status}", *lines, "", ""]).encode("latin-1")

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send back every message until either side says goodbye."""
        self._sockets.add(writer)
        buffer = bytearray()
        try:
            if self._stop.is_set():
                writer.write(closing(GOING_AWAY))
            while data := await reader.read(_HEAD_BYTES_MAX):
                buffer += data
                while frame := take(buffer):
                    if frame.opcode is Opcode.CLOSE:
                        writer.write(encode(Opcode.CLOSE, frame.payload[:2]))
                        await writer.drain()
                        return
                    if frame.opcode is not Opcode.PONG:
                        answer = Opcode.PONG if frame.opcode is Opcode.PING else frame.opcode
                        writer.write(encode(answer, frame.payload))
                await writer.drain()
        finally:
            self._sockets.discard(writer)
            self._done.set()


def address_in(hosts: str, name: str) -> str:
    """Return the address that /etc/hosts has for `name`; empty if none."""
    rows = [line.partition("#")[0].split() for line in hosts.splitlines()]
    return next((row[0] for row in rows if name in row[1:]), "")


async def _main(options: argparse.Namespace) -> int:
    with open("/etc/hosts", encoding="utf-8") as file:  # noqa: ASYNC230, PTH123 - at the start, and pathlib costs 10 ms
        replica = address_in(file.read(), socket.gethostname())
    echo = Echo(options.version, replica, is_sick=options.sick)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, echo.stop)
    return await echo.run(options.port, options.crash_after)


def main(words: Sequence[str]) -> int:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="echo")
    parser.add_argument("--version", default="1")
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--sick", action="store_true")
    parser.add_argument("--crash-after", type=float, default=None)
    return asyncio.run(_main(parser.parse_args(words)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
