"""The log that conmon writes, line by line, back to what the container wrote.

    2026-01-02T03:04:05.678901234Z stdout F a whole line, or the end of one
    2026-01-02T03:04:05.678901234Z stdout P the beginning of one, too long for conmon's buffer

Source: Kubernetes, design proposal kubelet-cri-logging.md (the format).
"""

import os
from collections import deque
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import BinaryIO, Final

from node_agent.runtime import LogLine
from shared.clock import Clock

# Somebody is looking while we follow: soon enough for the eye, and nothing when nobody follows.
_POLL_S: Final = 0.2
_CHUNK_BYTES: Final = 256 * 1024
# A program that never ends its line must not fill the agent's memory.
_TEXT_BYTES_MAX: Final = 256 * 1024


class Joiner:
    """Turns the file's bytes into lines, however they were cut. Feed it in order."""

    def __init__(self) -> None:
        self._rest = b""
        self._begun: dict[str, tuple[str, bytes]] = {}

    def feed(self, data: bytes) -> list[LogLine]:
        """Return the lines that `data` completes; what is not in the format is passed over."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [line for raw in whole if (line := self._join(raw)) is not None]

    def _join(self, raw: bytes) -> LogLine | None:
        at, _, rest = raw.partition(b" ")
        stream_bytes, _, rest = rest.partition(b" ")
        flag, _, text = rest.partition(b" ")
        stream = stream_bytes.decode(errors="replace")
        if stream not in {"stdout", "stderr"} or flag not in {b"F", b"P"}:
            return None
        since, before = self._begun.pop(stream, (at.decode(errors="replace"), b""))
        joined = before + text
        if flag == b"P" and len(joined) < _TEXT_BYTES_MAX:
            self._begun[stream] = (since, joined)
            return None
        return LogLine(since, stream, joined.decode(errors="replace"))


async def read(
    file: Path, clock: Clock, *, follow: bool, tail: int | None
) -> AsyncGenerator[LogLine, None]:
    """Yield the last `tail` lines of the log (None: all), then, with `follow`, what is added.

    Ends when the log's directory is gone. When conmon begins the file anew, what the old one still
    had comes first.
    """
    joiner = Joiner()
    log = _LogFile(file)
    try:
        held: deque[LogLine] = deque(maxlen=tail)
        while data := log.read():
            held.extend(joiner.feed(data))
        for line in held:
            yield line
        while follow and file.parent.exists():
            data = log.read()
            for line in joiner.feed(data):
                yield line
            if not data:
                await clock.sleep(_POLL_S)
    finally:
        log.close()


class _LogFile:
    """A file that is read while it grows, and whose name may pass to a new file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stream: BinaryIO | None = None

    def read(self) -> bytes:
        """Return what is new, empty if there is nothing (yet)."""
        if self._stream is None:
            try:
                self._stream = self._file.open("rb")
            except FileNotFoundError:
                return b""
        # Asked before reading: what is not there after that was never written to the old file.
        replaced = self._is_replaced(self._stream)
        data = self._stream.read(_CHUNK_BYTES)
        if replaced and not data:
            self.close()
        return data

    def close(self) -> None:
        """Close the file; the next read opens whatever has its name then."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _is_replaced(self, stream: BinaryIO) -> bool:
        try:
            named = self._file.stat()
        except FileNotFoundError:
            return False
        held = os.fstat(stream.fileno())
        return (held.st_dev, held.st_ino) != (named.st_dev, named.st_ino)
