"""Websockets that stay open through a load run, echo now and then, and are opened again at once.

An open stream on a replica that goes is ended by nature; what counts is when it ended, and whether
the next one was accepted. Each life of a socket is a record of its own, apart from the requests.
"""

import asyncio
import base64
import secrets
from collections.abc import Callable, Iterable
from typing import Final

import msgspec

from deploy.lab.frames import FrameError, Opcode, accept_of, close_code, closing, encode, take
from deploy.lab.http1 import Connection, cause_of
from shared.model import Record

# A healthy echo takes milliseconds, a held handshake as long as a request is held at most.
_ANSWER_S: Final = 15.0
_SWITCHING: Final = 101
_READ_BYTES: Final = 64 * 1024
# A refusal that comes at once would otherwise be asked for thousands of times a second.
_REFUSED_PAUSE_S: Final = 0.2
NORMAL: Final = 1000


class Life(Record, frozen=True, kw_only=True):
    """One websocket, from the attempt to open it to its end. Seconds count from the run's begin.

    Attributes:
        number: which of the sockets; each is opened again when it ends.
        asked_s: when it was asked for.
        opened_s: when it was accepted; None: it was refused.
        ended_s: when it ended, or was refused.
        end: why, a few constant words; empty: the run was over, and it was still open.
        replica, version: who accepted it, by its own headers.
        echoes: messages that came back as they were sent.
    """

    number: int
    asked_s: float
    ended_s: float
    opened_s: float | None = None
    end: str = ""
    replica: str = ""
    version: str = ""
    echoes: int = 0


class SocketCounts(Record, frozen=True, kw_only=True):
    """What became of all of them.

    Attributes:
        opened: accepted, the first time and again.
        dropped: ended before the run was over.
        reconnected: of the dropped, those whose next attempt was accepted.
        refused: attempts that were not accepted.
        echoes: messages that came back.
    """

    opened: int = 0
    dropped: int = 0
    reconnected: int = 0
    refused: int = 0
    echoes: int = 0


def counts(lives: Iterable[Life]) -> SocketCounts:
    """Return what became of all sockets; the lives of each are in the order of time."""
    opened = dropped = reconnected = refused = echoes = 0
    fell: set[int] = set()
    for life in sorted(lives, key=lambda each: each.asked_s):
        echoes += life.echoes
        if life.opened_s is None:
            refused += 1
            fell.discard(life.number)
            continue
        opened += 1
        reconnected += life.number in fell
        fell.discard(life.number)
        if life.end:
            dropped += 1
            fell.add(life.number)
    return SocketCounts(
        opened=opened, dropped=dropped, reconnected=reconnected, refused=refused, echoes=echoes
    )


class Sockets:
    """Keeps `count` websockets open to one place, each sending a message every `period_s`.

    Args:
        host: where.
        port: of it.
        count: how many.
        period_s: between two messages of one socket.
        now_s: seconds since the run began.
        on_life: is told of each life at its end.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        count: int,
        period_s: float,
        now_s: Callable[[], float],
        on_life: Callable[[Life], None],
    ) -> None:
        self._host, self._port = host, port
        self._count, self._period_s = count, period_s
        self._now_s, self._on_life = now_s, on_life
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """End all of them; `run` then returns."""
        self._stop.set()

    async def run(self) -> None:
        """Keep them open until `stop`."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._count):
                group.create_task(self._keep(number))

    async def _keep(self, number: int) -> None:
        while not self._stop.is_set():
            life = await self._live(number)
            self._on_life(life)
            if life.opened_s is None:
                await asyncio.sleep(_REFUSED_PAUSE_S)

    async def _live(self, number: int) -> Life:
        """Open one, use it until it ends, return its life; never raises for what a peer does."""
        life = Life(number=number, asked_s=self._now_s(), ended_s=0.0)
        socket = None
        try:
            async with asyncio.timeout(_ANSWER_S):
                connection = await Connection.open(self._host, self._port)
                socket = _Socket(connection, f"{self._host}:{self._port}")
                version, replica = await socket.shake_hands()
            life = msgspec.structs.replace(
                life, opened_s=self._now_s(), version=version, replica=replica
            )
            end = await self._use(socket)
        except OSError as error:
            end = cause_of(error)
        except FrameError:
            end = "not a websocket"
        finally:
            if socket is not None:
                socket.close()
        echoes = socket.echoes if socket is not None else 0
        return msgspec.structs.replace(life, ended_s=self._now_s(), end=end, echoes=echoes)

    async def _use(self, socket: "_Socket") -> str:
        """Echo until the peer ends it, or the run does; return the peer's reason."""
        while not self._stop.is_set():
            async with asyncio.timeout(_ANSWER_S):
                end = await socket.echo()
            end = end or await self._idle(socket)
            if end:
                return end
        return ""

    async def _idle(self, socket: "_Socket") -> str:
        """Wait for the next turn; return why the peer ended it meanwhile, empty: it did not."""
        try:
            async with asyncio.timeout(self._period_s):
                return await socket.ended()
        except TimeoutError:
            return ""


class _Socket:
    """A client's end of one websocket."""

    def __init__(self, connection: Connection, authority: str) -> None:
        self._connection, self._authority = connection, authority
        self._buffer = bytearray()
        self.echoes = 0

    async def shake_hands(self) -> tuple[str, str]:
        """Ask for the upgrade; return the version and the replica that granted it.

        Raises:
            ConnectionAbortedError: it was not granted, with the status.
        """
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        head = (
            f"GET /echo HTTP/1.1\r\nHost: {self._authority}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
        )
        status, headers = await self._connection.upgrade(head.encode("ascii"))
        if status != _SWITCHING:
            raise ConnectionAbortedError(f"status {status}")
        if headers.get("sec-websocket-accept") != accept_of(key):
            raise FrameError("the answer belongs to another key")
        return headers.get("x-version", ""), headers.get("x-replica", "")

    async def echo(self) -> str:
        """Send a message and wait until it is back; return why the peer ended it instead."""
        text = secrets.token_hex(8).encode()
        await self._connection.write(encode(Opcode.TEXT, text, secrets.token_bytes(4)))
        return await self._until(text)

    async def ended(self) -> str:
        """Wait until the peer ends it and return why."""
        return await self._until(None)

    async def _until(self, text: bytes | None) -> str:
        while True:
            while frame := take(self._buffer):
                if frame.opcode is Opcode.CLOSE:
                    await self._connection.write(closing(NORMAL, secrets.token_bytes(4)))
                    return f"closed by the server, {close_code(frame.payload)}"
                if frame.opcode is Opcode.PING:
                    pong = encode(Opcode.PONG, frame.payload, secrets.token_bytes(4))
                    await self._connection.write(pong)
                elif text is None or frame.payload != text:
                    raise FrameError("an echo that nobody asked for")
                else:
                    self.echoes += 1
                    return ""
            data = await self._connection.read(_READ_BYTES)
            if not data:
                raise ConnectionResetError("closed without a goodbye")
            self._buffer += data

    def close(self) -> None:
        """Drop it, without a goodbye: nothing that matters is under way when we call this."""
        self._connection.close()
