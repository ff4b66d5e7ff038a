"""What HAProxy wrote of requests, read back: by service, from a moment on, and as it grows.

HAProxy appends to one file, which Haproxy.rotate cuts short: what it had moves to a file beside.
That is done between two looks of ours, by the same thread.
"""

import asyncio
import os
from collections import deque
from collections.abc import AsyncGenerator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

import msgspec

from shared.api import AccessEntry
from shared.clock import Clock

# Somebody is looking while we follow: soon enough for the eye.
_POLL_S: Final = 0.2
# Between two of these the agent does what else there is to do: a millisecond's work.
_CHUNK_BYTES: Final = 64 * 1024
# HAProxy writes no longer ones; what is longer is no line of a request.
_LINE_BYTES_MAX: Final = 16 * 1024
# The file moves on once in some thousand requests: whoever reads it meets that once, hardly twice.
_TRIES: Final = 5


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests.

    Attributes:
        services: as "stack.service".
        since_ms: those that were over then or later.
        tail: the last of those only; None: all.
        follow: go on with new ones.
    """

    services: AbstractSet[str]
    since_ms: int = 0
    tail: int | None = None
    follow: bool = False


class Lines:
    """Turns the file's bytes into requests, however they are cut. Feed it in order."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted, self._rest = wanted, b""
        self._marks = tuple(f'"service":"{one}"'.encode() for one in sorted(wanted.services))

    def feed(self, data: bytes) -> list[AccessEntry]:
        """Return the requests that are wanted; what is none is passed over."""
        *whole, rest = (self._rest + data).split(b"\n")
        # Of a line that never ends nothing is kept but that it is none.
        self._rest = rest if len(rest) <= _LINE_BYTES_MAX else b"?"
        return [entry for line in whole if (entry := self._read(line)) is not None]

    def _read(self, line: bytes) -> AccessEntry | None:
        if not any(mark in line for mark in self._marks):
            return None
        try:
            entry = msgspec.json.decode(line, type=AccessEntry)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        is_wanted = entry.service in self._wanted.services and entry.at_ms >= self._wanted.since_ms
        return entry if is_wanted else None


class AccessLog:
    """The access log of this node's gateway.

    Args:
        file: what HAProxy appends to.
        older: what it had before.
        clock: time.
    """

    def __init__(self, file: Path, older: Path, clock: Clock) -> None:
        self._file, self._older, self._clock = file, older, clock

    async def read(self, wanted: Wanted) -> AsyncGenerator[AccessEntry, None]:
        """Yield what is there, then, with `follow`, what is added, until cancelled."""
        held, lines, place = await self._history(wanted)
        while held:
            yield held.popleft()
        while wanted.follow:
            data, place = self._after(place)
            for entry in lines.feed(data):
                yield entry
            if not data:
                await self._clock.sleep(_POLL_S)

    async def _history(self, wanted: Wanted) -> tuple[deque[AccessEntry], Lines, "_Place"]:
        """Return what both files have, and from where on the rest comes."""
        tries = 1
        found = await self._both(wanted)
        while found[-1].older != _mark(self._older) and tries < _TRIES:
            tries += 1
            found = await self._both(wanted)
        return found

    async def _both(self, wanted: Wanted) -> tuple[deque[AccessEntry], Lines, "_Place"]:
        held: deque[AccessEntry] = deque(maxlen=wanted.tail)
        lines, older, offset = Lines(wanted), _mark(self._older), 0
        while data := _read(self._older, offset):
            offset += len(data)
            held.extend(lines.feed(data))
            await asyncio.sleep(0)
        place = _Place(older, 0)
        while data := _read(self._file, place.offset):
            place = _Place(older, place.offset + len(data))
            held.extend(lines.feed(data))
            await asyncio.sleep(0)
        return held, lines, place

    def _after(self, place: "_Place") -> tuple[bytes, "_Place"]:
        """Return what comes next: of what moved to the other file its end first."""
        older = _mark(self._older)
        if older != place.older:
            rest = _read(self._older, place.offset)
            if rest:
                return rest, _Place(place.older, place.offset + len(rest))
            place = _Place(older, 0)
        if _size(self._file) < place.offset:
            place = _Place(older, 0)  # Somebody removed it, and HAProxy has another now.
        data = _read(self._file, place.offset)
        return data, _Place(place.older, place.offset + len(data))


class _Place(msgspec.Struct, frozen=True):
    """Up to where the file was read, when the one beside it was `older`."""

    older: tuple[int, int]
    offset: int


def _read(file: Path, offset: int) -> bytes:
    try:
        with file.open("rb") as stream:
            stream.seek(offset)
            return stream.read(_CHUNK_BYTES)
    except FileNotFoundError:
        return b""


def _stat(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except FileNotFoundError:
        return None


def _mark(file: Path) -> tuple[int, int]:
    """Return what tells a file from the one that had its name before."""
    found = _stat(file)
    return (found.st_ino, found.st_mtime_ns) if found is not None else (0, 0)


def _size(file: Path) -> int:
    found = _stat(file)
    return found.st_size if found is not None else 0
