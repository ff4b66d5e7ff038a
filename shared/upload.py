"""The body of a request on its way to this host's disk: bounded, private, gone afterwards.

Each process has a folder of its own for it; what a crash left there is swept when the next begins.
The file needs a name: skopeo does not read archives through a descriptor.
"""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Final, Protocol

import msgspec
from aiohttp import web

from shared.errors import HostError, SpecError, UnavailableError

# Images of machine learning come to some 15 GiB; what is larger is no image, but a mistake.
UPLOAD_BYTES_MAX: Final = 20 * 1024**3
# etcd and what containers write are on the same disk: an etcd that cannot write stops the cluster.
DISK_LEFT_BYTES_MIN: Final = 1024**3
# A sender whose host vanished sends no reset; one that stands still this long is gone.
SILENCE_S_MAX: Final = 30.0
# So many bodies at once: each may be as large as the disk allows, and they share one line.
UPLOADS_MAX: Final = 2
_CHUNK_BYTES: Final = 1024 * 1024


class Limits(msgspec.Struct, frozen=True):
    """What is taken of one body.

    Attributes:
        bytes_max: of a body.
        left_bytes_min: of the disk, which stay free.
        copies: how often the content lies on the disk until all is done, this file included.
    """

    bytes_max: int = UPLOAD_BYTES_MAX
    left_bytes_min: int = DISK_LEFT_BYTES_MIN
    copies: int = 1


class _File(Protocol):
    """What a body is written to."""

    def write(self, data: memoryview, /) -> int:
        """Write some of it; return how many bytes."""
        ...


class Inbox:
    """Takes bodies of requests into files below a folder.

    Args:
        node: this host's name, for what it refuses.
        folder: made as needed; nothing else is in it.
        limits: of each body.
    """

    def __init__(self, node: str, folder: Path, limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
        self._node, self._folder, self._limits = node, folder, limits
        self._open = 0

    @contextlib.asynccontextmanager
    async def received(self, request: web.Request) -> AsyncGenerator[tuple[Path, int], None]:
        """Give the file with the whole body and its size; it is gone when the `with` ends.

        Raises:
            SpecError: it is empty or larger than bodies may be.
            HostError: the disk has no room for it.
            UnavailableError: the sender fell silent, or there are too many bodies at once.
        """
        if self._open >= UPLOADS_MAX:
            raise UnavailableError(
                f"{self._node} already takes {UPLOADS_MAX} uploads; wait for one to end"
            )
        self._open += 1
        try:
            # Not in a thread: whoever is cancelled while that makes the file would not remove it.
            with self._file() as file:
                yield Path(file.name), await self._take(request, file)
        finally:
            self._open -= 1

    def sweep(self) -> None:
        """Remove what a crash has left; only before the first body comes."""
        for left in self._folder.glob("*"):
            # A disk that takes no change takes no body either; whoever sends one is told.
            with contextlib.suppress(OSError):
                left.unlink()

    def _file(self) -> "tempfile._TemporaryFileWrapper[bytes]":
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return tempfile.NamedTemporaryFile(dir=self._folder, buffering=0, suffix=".tar")
        except OSError as error:
            raise self._no_room(error) from error

    async def _take(self, request: web.Request, file: _File) -> int:
        room = await asyncio.to_thread(self._room)
        self._check(request.content_length or 0, room)
        size = 0
        while chunk := await self._chunk(request):
            size += len(chunk)
            self._check(size, room)
            try:
                await asyncio.to_thread(_write, file, chunk)
            except OSError as error:
                raise self._no_room(error) from error
        if size == 0:
            raise SpecError("the body is empty: send an image archive")
        return size

    async def _chunk(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(SILENCE_S_MAX):
                return await request.content.read(_CHUNK_BYTES)
        except TimeoutError as error:
            raise UnavailableError(
                f"{self._node} heard nothing of the body for {SILENCE_S_MAX:g} s and gave up"
            ) from error

    def _room(self) -> int:
        """Return how large a body the disk has room for."""
        free = shutil.disk_usage(self._folder).free
        return max(0, free - self._limits.left_bytes_min) // self._limits.copies

    def _check(self, size: int, room: int) -> None:
        if size > self._limits.bytes_max:
            raise SpecError(
                f"the body is larger than {self._limits.bytes_max} bytes, the most that is taken"
            )
        if size > room:
            raise HostError(
                f"{self._node}: no room for it: it may have {room} bytes below {self._folder}, so "
                f"that {self._limits.copies} copies of it fit and {self._limits.left_bytes_min} "
                "bytes stay free"
            )

    def _no_room(self, error: OSError) -> HostError:
        return HostError(f"{self._node}: cannot write below {self._folder}: {error.strerror}")


def _write(file: _File, chunk: bytes) -> None:
    left = memoryview(chunk)
    while left:
        left = left[file.write(left) :]
