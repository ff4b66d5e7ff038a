"""The load generator: what it sends when, against a real server on loopback."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from deploy.lab.http1 import HALF_READ, UNREAD
from deploy.lab.load import Generator, LoadPlan, Target, read_target
from deploy.lab.tally import LoadReport, Outcome
from shared.errors import SpecError


@given(st.integers(1, 5), st.integers(0, 10), st.integers(1, 200))
def test_targets_take_turns_and_each_gets_its_share_of_new_connections(
    count: int, fresh_every: int, rounds: int
) -> None:
    targets = tuple(Target(name=str(i), host="127.0.0.1", port=1) for i in range(count))
    plan = LoadPlan(targets=targets, rate_per_s=50.0, fresh_every=fresh_every)
    numbers = range(count * rounds)
    fresh = [plan.target(number).name for number in numbers if plan.is_fresh(number)]

    assert [plan.target(number) for number in numbers] == list(targets) * rounds
    assert [plan.due_s(number) for number in numbers] == [number / 50.0 for number in numbers]
    share = -(-rounds // fresh_every) if fresh_every else 0
    assert fresh == [target.name for target in targets] * share


@given(st.integers(1, 3), st.integers(0, 10), st.integers(1, 100))
def test_one_in_so_many_requests_of_every_target_is_a_post(
    count: int, post_every: int, rounds: int
) -> None:
    targets = tuple(Target(name=str(i), host="127.0.0.1", port=1) for i in range(count))
    plan = LoadPlan(targets=targets, rate_per_s=50.0, post_every=post_every)

    posts = [plan.target(n).name for n in range(count * rounds) if plan.is_post(n)]

    share = rounds // post_every if post_every else 0
    assert posts == [target.name for target in targets] * share


def test_an_address_is_read_with_or_without_a_name() -> None:
    named = Target(name="web", host="198.18.0.2", port=8080, path="/a?b=c=d")
    assert read_target("web=http://198.18.0.2:8080/a?b=c=d") == named
    assert read_target("http://h/x?a=b") == Target(name="h:80", host="h", port=80, path="/x?a=b")


@pytest.mark.parametrize("text", ["web", "https://h/", "web=ftp://h/", "http://h:x/", "http://h/ä"])
def test_an_address_that_cannot_be_loaded_is_refused_by_name(text: str) -> None:
    with pytest.raises(SpecError, match="^" + text.split("?", maxsplit=1)[0]):
        read_target(text)


ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


@contextlib.asynccontextmanager
async def serving(handler: Handler) -> AsyncGenerator[int, None]:
    """Serve on a free port of loopback; yield the port."""
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port: int = runner.addresses[0][1]
        yield port
    finally:
        await runner.cleanup()


def on_loopback(port: int, name: str = "web") -> Target:
    return Target(name=name, host="127.0.0.1", port=port)


async def sent(plan: LoadPlan, outcomes_: list[Outcome] | None = None) -> LoadReport:
    keep = outcomes_.append if outcomes_ is not None else None
    return await Generator(plan, on_report=lambda _: None, on_outcome=keep, wall_s=0.0).run()


async def test_all_requests_of_a_healthy_service_are_answered_over_kept_connections() -> None:
    peers = set()
    newcomers = []

    async def answer(request: web.BaseRequest) -> web.Response:
        assert request.transport is not None
        peer = request.transport.get_extra_info("peername")
        if request.headers["Connection"] == "close":
            newcomers.append(peer not in peers)
        peers.add(peer)
        return web.Response(text="hello")

    async with serving(answer) as port:
        plan = LoadPlan(targets=(on_loopback(port),), rate_per_s=200.0, seconds=0.2, fresh_every=20)
        outcomes_: list[Outcome] = []
        report = await sent(plan, outcomes_)

    target = report.targets[0]
    assert (target.sent, target.ok, target.failed, target.in_flight) == (40, 40, 0, 0)
    assert report.final
    assert len(outcomes_) == 40
    assert newcomers == [True, True]
    assert len(peers) < 40


async def test_connections_go_elsewhere_than_the_host_that_is_asked_for() -> None:
    asked: set[str] = set()

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.add(request.headers["Host"])
        return web.Response()

    async with serving(answer) as port:
        target = Target(name="web", host="web.example.org", port=port)
        plan = LoadPlan(targets=(target,), rate_per_s=100.0, seconds=0.05, connect="127.0.0.1")
        report = await sent(plan)

    assert report.targets[0].failed == 0
    assert asked == {f"web.example.org:{port}"}


async def test_posts_go_to_their_own_path_and_are_told_from_gets() -> None:
    asked: list[tuple[str, str]] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        asked.append((request.method, request.path))
        return web.Response(text="hello" if request.method == "GET" else "", status=200)

    async with serving(answer) as port:
        plan = LoadPlan(
            targets=(on_loopback(port),),
            rate_per_s=200.0,
            seconds=0.2,
            post_every=4,
            post_path="/form",
        )
        outcomes_: list[Outcome] = []
        await sent(plan, outcomes_)

    assert sorted(asked) == [("GET", "/")] * 30 + [("POST", "/form")] * 10
    assert sum(not each.idempotent for each in outcomes_) == 10
    assert {each.failure for each in outcomes_} == {""}


async def test_a_server_that_does_not_offer_to_keep_a_connection_gets_one_for_each_request() -> (
    None
):
    """It stays silent on a connection that it has answered on: a second request would hang."""
    finished = asyncio.Event()

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()
        await finished.wait()
        writer.close()

    async with await asyncio.start_server(once, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        plan = LoadPlan(
            targets=(on_loopback(port),), rate_per_s=50.0, seconds=0.2, timeout_s=1.0, fresh_every=0
        )
        report = await sent(plan)
        finished.set()

    assert (report.targets[0].ok, report.targets[0].failed) == (10, 0)


async def test_chunked_and_unframed_answers_are_read_to_their_end() -> None:
    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        if request.path == "/chunked":
            response.enable_chunked_encoding()
        else:
            response.force_close()
        await response.prepare(request)
        await response.write(b"x" * 100_000)
        await response.write_eof()
        return response

    async with serving(answer) as port:
        targets = tuple(
            msgspec.structs.replace(on_loopback(port, path), path=path)
            for path in ("/chunked", "/unframed")
        )
        report = await sent(LoadPlan(targets=targets, rate_per_s=100.0, seconds=0.2))

    assert [(target.ok, target.failed) for target in report.targets] == [(10, 0), (10, 0)]


async def test_a_dropped_kept_connection_is_a_failure_and_is_not_tried_again() -> None:
    """An HTTP library would send these again and report that all is well."""
    seen = 0

    async def answer(request: web.BaseRequest) -> web.Response:
        nonlocal seen
        seen += 1
        if seen % 2 == 0 and request.transport:
            request.transport.abort()
        return web.Response(text="hello")

    async with serving(answer) as port:
        plan = LoadPlan(targets=(on_loopback(port),), rate_per_s=50.0, seconds=0.2, fresh_every=0)
        report = await sent(plan)

    target = report.targets[0]
    assert (target.sent, target.ok, target.failed) == (10, 5, 5)
    assert target.errors == {UNREAD: 5}
    assert seen == 10


@given(at=st.integers(1, len(ANSWER) - 1))
def test_an_answer_cut_off_anywhere_was_read_in_part(at: int) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER[:at])
        writer.close()

    async def told() -> LoadReport:
        async with await asyncio.start_server(cut, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            plan = LoadPlan(targets=(on_loopback(port),), rate_per_s=1000.0, seconds=0.001)
            return await sent(plan)

    target = asyncio.run(told()).targets[0]
    assert (target.sent, target.errors) == (1, {HALF_READ: 1})


async def test_refusals_and_error_statuses_are_counted_by_cause() -> None:
    async def answer(_: web.BaseRequest) -> web.Response:
        return web.Response(status=503)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
        async with serving(answer) as port:
            plan = LoadPlan(
                targets=(on_loopback(port), on_loopback(closed, "gone")),
                rate_per_s=100.0,
                seconds=0.2,
            )
            report = await sent(plan)

    assert [target.errors for target in report.targets] == [
        {"status 503": 10},
        {"connection refused": 10},
    ]


async def test_what_is_not_http_is_refused_by_name() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        report = await sent(LoadPlan(targets=(on_loopback(port),), rate_per_s=50.0, seconds=0.1))

    assert report.targets[0].errors == {"not an HTTP answer": 5}


async def test_a_silent_service_does_not_slow_the_sending_down_and_times_out() -> None:
    async def hang(_: web.BaseRequest) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with serving(hang) as port:
        plan = LoadPlan(targets=(on_loopback(port),), rate_per_s=200.0, seconds=0.2, timeout_s=0.4)
        outcomes_: list[Outcome] = []
        report = await sent(plan, outcomes_)

    assert report.targets[0].errors == {"no answer in time": 40}
    assert all(outcome.ended_s - outcome.due_s >= 0.4 for outcome in outcomes_)


async def test_past_the_limit_in_flight_a_request_fails_instead_of_piling_up() -> None:
    async def hang(_: web.BaseRequest) -> web.Response:
        await asyncio.Event().wait()
        return web.Response()

    async with serving(hang) as port:
        plan = LoadPlan(
            targets=(on_loopback(port),),
            rate_per_s=100.0,
            seconds=0.1,
            timeout_s=0.3,
            in_flight_max=4,
        )
        report = await sent(plan)

    assert report.targets[0].errors == {"no answer in time": 4, "not sent: 4 in flight": 6}


async def test_a_stopped_run_waits_for_what_is_in_flight() -> None:
    release = asyncio.Event()
    arrived = asyncio.Event()

    async def answer(_: web.BaseRequest) -> web.Response:
        arrived.set()
        await release.wait()
        return web.Response(text="late, but there")

    async with serving(answer) as port, asyncio.TaskGroup() as group:
        generator = Generator(
            LoadPlan(targets=(on_loopback(port),), rate_per_s=10.0),
            on_report=lambda _: None,
            wall_s=0.0,
        )
        running = group.create_task(generator.run())
        await arrived.wait()
        generator.stop()
        release.set()
        report = await running

    target = report.targets[0]
    assert target.sent == target.ok >= 1


async def test_the_program_reports_lines_and_its_exit_code_tells_failures() -> None:
    async def answer(request: web.BaseRequest) -> web.Response:
        return web.Response(status=200 if request.path == "/ok" else 500)

    async with serving(answer) as port:
        codes, reports = [], []
        for path in ("ok", "bad"):
            program = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "deploy.lab.load", "--rate", "50", "--seconds", "0.7"),
                *("--url", f"web=http://127.0.0.1:{port}/{path}"),
                stdout=subprocess.PIPE,
            )
            output, _ = await program.communicate()
            codes.append(program.returncode)
            lines = output.splitlines()
            reports.append([msgspec.json.decode(line, type=LoadReport) for line in lines])

    assert codes == [0, 1]
    for lines_ in reports:
        assert [report.final for report in lines_] == [False, True]
        assert lines_[-1].targets[0].sent == 35
