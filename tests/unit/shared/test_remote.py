"""Our HTTP servers and our client of them, end to end over a unix socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from shared import errors, http
from shared.api import ErrorBody
from shared.errors import (
    AmbiguousError,
    CodecError,
    ConflictError,
    HafenError,
    NotFoundError,
    SpecError,
    StoreError,
    UnavailableError,
)
from shared.model import Leader, NodeName
from shared.remote import Remote, Target, named, refusal
from tests.waiting import until

WITHIN_S = 5.0
ANNA = Leader(node=NodeName("node-1"))


@asynccontextmanager
async def served(folder: Path, handler: http.Handler) -> AsyncIterator[Remote]:
    """Serve `handler` at every path and give a client of it."""
    path = folder / "socket"
    app = web.Application(middlewares=[http.refusals])
    app.add_routes([web.route("*", "/{path:.*}", handler)])
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(
            http.serve(app, [lambda runner: web.UnixSite(runner, str(path))])
        )
        await until(path.exists, WITHIN_S)
        async with Remote(Target.unix(path)) as remote:
            yield remote
        serving.cancel()


def raising(error: BaseException) -> http.Handler:
    async def handler(_request: web.Request) -> web.StreamResponse:
        raise error

    return handler


def streaming(source: http.Source, heartbeat_s: float = WITHIN_S) -> http.Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        return await http.stream(request, source, heartbeat_s=heartbeat_s)

    return handler


async def received(remote: Remote) -> list[Leader]:
    async with aclosing(remote.stream("/", Leader)) as records:
        return [record async for record in records]


async def test_a_record_comes_back_as_it_was_sent(tmp_path: Path) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        return web.Response(body=await request.read())

    async with served(tmp_path, echo) as remote:
        assert await remote.ask("PUT", "/", Leader, body=ANNA) == ANNA


@pytest.mark.parametrize(
    "error",
    [
        HafenError("it"),
        SpecError("one\ntwo"),
        NotFoundError("it"),
        UnavailableError("it"),
        AmbiguousError("it"),
        errors.DeniedError("it"),
        errors.ImageError("it"),
    ],
)
async def test_a_refusal_comes_back_as_the_error_that_was_raised(
    tmp_path: Path, error: HafenError
) -> None:
    async with served(tmp_path, raising(error)) as remote:
        with pytest.raises(HafenError) as refused:
            await remote.ask("GET", "/", Leader)

    assert (type(refused.value), str(refused.value)) == (type(error), str(error))


def test_an_error_made_of_more_than_a_message_comes_back_as_the_one_above_it() -> None:
    raced = ConflictError("a key", expected=1, found=2)
    back = named("ConflictError", str(raced))

    assert (type(back), str(back)) == (StoreError, "a key is at revision 2, not 1")


@pytest.mark.parametrize("name", ["NoSuchError", "ClassVar", ""])
def test_an_error_that_nobody_knows_is_an_error_all_the_same(name: str) -> None:
    assert type(named(name, "it")) is HafenError


def test_an_answer_that_is_not_ours_says_so() -> None:
    error = refusal(b"<html>", 502, "node-1:8470")

    assert str(error) == "node-1:8470 answers with status 502, but not as hafen does"


async def test_a_bug_in_the_server_is_an_id_to_look_for_in_its_log(tmp_path: Path) -> None:
    with capture_logs() as logged:
        async with served(tmp_path, raising(ValueError("secret detail"))) as remote:
            with pytest.raises(HafenError) as refused:
                await remote.ask("GET", "/x", Leader)

    assert str(refused.value) == (f"GET /x failed inside hafen; its log says {logged[0]['id']}")
    assert (logged[0]["event"], logged[0]["exc_info"]) == ("request_failed", True)


async def test_an_answer_that_is_no_record_is_refused(tmp_path: Path) -> None:
    async def garbage(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"{}")

    async with served(tmp_path, garbage) as remote:
        with pytest.raises(CodecError, match="missing required field"):
            await remote.ask("GET", "/", Leader)


async def test_a_connection_that_breaks_leaves_a_change_in_doubt_but_not_a_question(
    tmp_path: Path,
) -> None:
    async def hang_up(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with served(tmp_path, hang_up) as remote:
        with pytest.raises(UnavailableError):
            await remote.ask("GET", "/", Leader)
        with pytest.raises(AmbiguousError):
            await remote.ask("PUT", "/", Leader, body=ANNA)


async def test_a_stream_ends_when_its_source_does(tmp_path: Path) -> None:
    async def two(put: http.Put) -> None:
        await put(ANNA)
        await put(ANNA)

    async with served(tmp_path, streaming(two)) as remote:
        assert await received(remote) == [ANNA, ANNA]


async def test_a_stream_that_fails_does_not_look_like_one_that_ended(tmp_path: Path) -> None:
    async def fails(put: http.Put) -> None:
        await put(ANNA)
        raise NotFoundError("it went away")

    async with served(tmp_path, streaming(fails)) as remote:
        with pytest.raises(NotFoundError, match="it went away"):
            await received(remote)


async def test_a_bug_in_a_stream_is_told_in_its_last_line(tmp_path: Path) -> None:
    async def fails(_put: http.Put) -> None:
        raise ValueError("secret detail")

    with capture_logs() as logged:
        async with served(tmp_path, streaming(fails)) as remote:
            with pytest.raises(HafenError, match="GET / failed inside hafen"):
                await received(remote)

    assert logged[0]["event"] == "request_failed"


async def test_a_stream_that_breaks_does_not_look_like_one_that_ended(tmp_path: Path) -> None:
    async def half(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b'{"node":"node-1"}\n')
        assert request.transport is not None
        request.transport.abort()
        return response

    async with served(tmp_path, half) as remote:
        with pytest.raises(UnavailableError, match="broke"):
            await received(remote)


async def test_a_quiet_stream_sends_blank_lines_which_are_no_records(tmp_path: Path) -> None:
    quiet_until = asyncio.Event()

    async def quiet(put: http.Put) -> None:
        await quiet_until.wait()
        await put(ANNA)

    async with (
        served(tmp_path, streaming(quiet, heartbeat_s=0.01)) as remote,
        aiohttp.ClientSession(connector=remote_connector(tmp_path)) as raw,
        raw.get("http://localhost/") as answer,
    ):
        beats = [await answer.content.readline() for _ in range(2)]
        quiet_until.set()
        records = await received(remote)

    assert (beats, records) == ([b"\n", b"\n"], [ANNA])


def remote_connector(folder: Path) -> aiohttp.BaseConnector:
    return Target.unix(folder / "socket").connector()


async def test_a_line_that_is_too_long_is_refused(tmp_path: Path) -> None:
    async def long(put: http.Put) -> None:
        await put(ErrorBody(error="", message="x" * 8 * 1024 * 1024))

    async with served(tmp_path, streaming(long)) as remote:
        with pytest.raises(CodecError, match="a line of its stream is too long"):
            await received(remote)


async def test_a_reader_that_stops_reading_stops_the_source(tmp_path: Path) -> None:
    given = 0
    ended = asyncio.Event()

    async def endless(put: http.Put) -> None:
        nonlocal given
        try:
            while True:
                await put(ErrorBody(error="", message="x" * 100_000))
                given += 1
        finally:
            ended.set()

    async with served(tmp_path, streaming(endless)) as remote:
        stream = remote.stream("/", Leader)
        with pytest.raises(CodecError):
            await anext(stream)
        await stream.aclose()
        async with asyncio.timeout(WITHIN_S):
            await ended.wait()

    # What fits into the queue and the buffers of both sockets, far from endless.
    assert given < 1000
