"""Bodies on their way to the disk: whole, bounded, and gone whatever happens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import http
from shared.api import ImageHeld
from shared.errors import HostError, SpecError, UnavailableError
from shared.remote import Remote, Target
from shared.upload import UPLOADS_MAX, Inbox, Limits
from tests.waiting import until

WITHIN_S = 5.0
CHUNK = b"x" * 65536


class Taken:
    """A server that takes bodies, remembers them, and may hold on before it answers."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = folder / "uploads"
        self.socket = folder / "socket"
        self.bodies: list[bytes] = []
        self.modes: list[int] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.under_way = 0
        self._inbox = Inbox("node-1", self.folder, limits)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.under_way += 1
        try:
            async with self._inbox.received(request) as (path, size):
                await self.go_on.wait()
                self.bodies.append(path.read_bytes())
                self.modes.append(path.stat().st_mode & 0o777)
                assert size == len(self.bodies[-1])

                async def tell(put: http.Put) -> None:
                    await put(ImageHeld(image=str(size)))

                return await http.stream(request, tell)
        finally:
            self.under_way -= 1

    def left(self) -> list[Path]:
        return list(self.folder.iterdir()) if self.folder.exists() else []


@asynccontextmanager
async def served(folder: Path, limits: Limits = Limits()) -> AsyncIterator[tuple[Taken, Remote]]:  # noqa: B008 - frozen
    taken = Taken(folder, limits)
    app = web.Application(middlewares=[http.refusals])
    app.add_routes([web.put("/", taken.answer)])
    async with asyncio.TaskGroup() as group:
        sites = [lambda runner: web.UnixSite(runner, str(taken.socket))]
        serving = group.create_task(http.serve(app, sites))
        await until(taken.socket.exists, WITHIN_S)
        async with Remote(Target.unix(taken.socket)) as remote:
            yield taken, remote
        serving.cancel()
    assert taken.left() == []


async def send(remote: Remote, folder: Path, body: bytes) -> str:
    file = folder / "body"
    file.write_bytes(body)
    async with aclosing(remote.send("/", file, ImageHeld)) as answers:
        return [held.image async for held in answers][-1]


@settings(max_examples=20)
@given(body=st.binary(min_size=1) | st.integers(1, 40).map(lambda count: CHUNK * count))
def test_a_body_arrives_as_it_was_sent_and_is_gone_afterwards(
    body: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("upload")

    async def inside() -> None:
        async with served(folder) as (taken, remote):
            assert await send(remote, folder, body) == str(len(body))
            assert taken.bodies == [body]
            assert taken.modes == [0o600]
            assert taken.left() == []

    asyncio.run(inside())


async def test_a_body_that_is_too_large_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async with served(tmp_path, Limits(bytes_max=len(CHUNK))) as (taken, remote):
        await send(remote, tmp_path, CHUNK)
        with pytest.raises(SpecError, match="larger than 65536 bytes"):
            await send(remote, tmp_path, CHUNK * 200)
        assert len(taken.bodies) == 1


async def test_a_body_of_unknown_length_is_counted_as_it_comes(tmp_path: Path) -> None:
    async with served(tmp_path, Limits(bytes_max=len(CHUNK))) as (taken, _):
        reader, writer = await asyncio.open_unix_connection(str(taken.socket))
        writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.writelines([b"10000\r\n%b\r\n" % CHUNK, b"1\r\nx\r\n0\r\n\r\n"])
        async with asyncio.timeout(WITHIN_S):
            assert b" 400 " in await reader.readline()
        writer.close()
        assert taken.bodies == []


async def test_a_full_disk_is_said_with_its_numbers(tmp_path: Path) -> None:
    async with served(tmp_path, Limits(left_bytes_min=2**62, copies=3)) as (taken, remote):
        with pytest.raises(HostError, match=r"node-1: no room for it: it may have 0 bytes .* 3 co"):
            await send(remote, tmp_path, b"x")
        assert taken.bodies == []


async def test_an_empty_body_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, remote):
        with pytest.raises(SpecError, match="the body is empty"):
            await send(remote, tmp_path, b"")


async def test_a_connection_that_is_cut_leaves_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as (taken, remote):
        for _ in range(UPLOADS_MAX + 1):
            _, writer = await asyncio.open_unix_connection(str(taken.socket))
            writer.write(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + CHUNK)
            await until(lambda: taken.under_way == 1, WITHIN_S)
            writer.transport.abort()
            await until(lambda: taken.under_way == 0, WITHIN_S)
        assert await send(remote, tmp_path, CHUNK) == str(len(CHUNK))
        assert len(taken.bodies) == 1


async def test_so_many_bodies_at_once_and_no_more(tmp_path: Path) -> None:
    async with served(tmp_path) as (taken, remote), asyncio.TaskGroup() as group:
        taken.go_on.clear()
        for _ in range(UPLOADS_MAX):
            group.create_task(send(remote, tmp_path, CHUNK))
        await until(lambda: taken.under_way == UPLOADS_MAX, WITHIN_S)
        with pytest.raises(UnavailableError, match=f"node-1 already takes {UPLOADS_MAX} uploads"):
            await send(remote, tmp_path, CHUNK)
        taken.go_on.set()


def test_what_a_crash_left_is_swept_when_the_next_process_begins(tmp_path: Path) -> None:
    (tmp_path / "left.tar").write_bytes(CHUNK)
    Inbox("node-1", tmp_path).sweep()
    Inbox("node-1", tmp_path / "not made yet").sweep()
    assert list(tmp_path.iterdir()) == []
