"""The echo image's server, as a program on loopback, and the sockets that the load keeps open."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.lab.echo import address_in
from deploy.lab.load import Generator, LoadPlan, Target
from deploy.lab.sockets import Life, SocketCounts, counts
from deploy.lab.tally import LoadReport, Outcome
from tests.waiting import until


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def echo(port: int, *options: str) -> AsyncGenerator[asyncio.subprocess.Process, None]:
    """Run the server; it has ended when this is left."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "deploy.lab.echo", "--port", str(port), *options),
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert b"answers" in await process.stdout.readline()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_get_answers_with_the_version_post_with_the_body() -> None:
    port = free_port()
    async with echo(port, "--version", "7"), aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/") as got:
            assert (got.status, got.headers["X-Version"]) == (200, "7")
            assert (await got.text()).split()[-1] == "7"
        async with session.post(f"http://127.0.0.1:{port}/", data=b"x" * 100_000) as got:
            assert await got.read() == b"x" * 100_000


@pytest.mark.parametrize(("options", "status"), [((), 200), (("--sick",), 503)])
async def test_only_a_sick_one_fails_its_healthcheck(options: tuple[str, ...], status: int) -> None:
    port = free_port()
    async with echo(port, *options), aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/health") as got:
            assert got.status == status
        async with session.get(f"http://127.0.0.1:{port}/") as got:
            assert got.status == 200


async def test_one_that_is_to_crash_answers_first_and_ends_with_1() -> None:
    port = free_port()
    async with echo(port, "--crash-after", "0.3") as process:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/") as got,
        ):
            assert got.status == 200
        assert await process.wait() == 1


async def test_another_client_can_echo_and_is_told_goodbye_at_the_end() -> None:
    port = free_port()
    async with (
        echo(port) as process,
        aiohttp.ClientSession() as session,
        session.ws_connect(f"http://127.0.0.1:{port}/echo") as ws,
    ):
        for text in ("hello", "x" * 200, "y" * 65_000):
            await ws.send_str(text)
            assert await ws.receive_str() == text
        await ws.ping()
        process.send_signal(signal.SIGTERM)
        goodbye = await ws.receive()
        assert (goodbye.type, goodbye.data) == (aiohttp.WSMsgType.CLOSE, 1001)
        assert await process.wait() == 0


async def test_asked_to_end_it_answers_what_is_under_way() -> None:
    port = free_port()
    async with echo(port) as process:
        idle = await asyncio.open_connection("127.0.0.1", port)
        idle[1].write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await idle[0].readuntil(b"\r\n\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
        # Answered once the other half is there; a GET after it proves that the head was read.
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/"):
            pass
        process.send_signal(signal.SIGTERM)
        assert (await idle[0].read()).endswith(b"\n")
        writer.write(b"cd")
        answer = await reader.read()
        assert answer.endswith(b"\r\n\r\nabcd")
        assert b"Connection: close" in answer
        assert await process.wait() == 0
        idle[1].close()
        writer.close()


def plan(
    port: int, *, seconds: float = 0.0, sockets: int = 0, socket_period_s: float = 0.1
) -> LoadPlan:
    return LoadPlan(
        targets=(Target(name="web", host="127.0.0.1", port=port),),
        rate_per_s=100.0,
        seconds=seconds,
        post_every=5,
        fresh_every=3,
        post_bytes=64,
        sockets=sockets,
        socket_period_s=socket_period_s,
    )


def generator(wanted: LoadPlan, outcomes: list[Outcome], lives: list[Life]) -> Generator:
    return Generator(
        wanted,
        on_report=lambda _: None,
        on_outcome=outcomes.append,
        on_life=lives.append,
        wall_s=0.0,
    )


async def test_a_mixed_load_is_answered_and_every_kind_is_told_from_the_others() -> None:
    outcomes: list[Outcome] = []
    lives: list[Life] = []
    port = free_port()
    async with echo(port, "--version", "3"):
        wanted = plan(port, seconds=0.9, sockets=3, socket_period_s=0.1)
        report = await generator(wanted, outcomes, lives).run()

    assert report.targets[0].errors == {}
    assert {(each.idempotent, each.is_fresh) for each in outcomes} == {
        (True, True),
        (True, False),
        (False, True),
        (False, False),
    }
    assert sum(not each.idempotent for each in outcomes) == 18
    assert {each.version for each in outcomes} == {"3"}
    assert [(life.end, life.version) for life in lives] == [("", "3")] * 3
    assert all(life.echoes > 2 for life in lives)


async def test_a_body_that_comes_back_changed_is_a_failure() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if head.startswith("POST"):
            await reader.readexactly(64)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 64\r\nConnection: close\r\n\r\n")
        writer.write(b"x" * 64)
        await writer.drain()
        writer.close()

    outcomes: list[Outcome] = []
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        wanted = plan(server.sockets[0].getsockname()[1], seconds=0.5)
        report = await generator(wanted, outcomes, []).run()

    assert report.targets[0].errors == {"another body came back": 10}


async def test_a_socket_whose_server_goes_is_refused_until_another_one_takes_it() -> None:
    outcomes: list[Outcome] = []
    lives: list[Life] = []
    port = free_port()
    wanted = plan(port, sockets=2, socket_period_s=0.05)
    async with asyncio.TaskGroup() as group:
        async with echo(port, "--version", "1") as first:
            run = generator(wanted, outcomes, lives)
            running: asyncio.Task[LoadReport] = group.create_task(run.run())
            await until(lambda: answered(outcomes) > 10, 10)
            first.send_signal(signal.SIGTERM)
            await first.wait()
        await until(lambda: counts(lives).refused >= 2, 10)
        outcomes.clear()
        async with echo(port, "--version", "2"):
            # So many take longer than the pause after a refusal.
            await until(lambda: answered(outcomes) > 60, 10)
            run.stop()
            await running

    told = counts(lives)
    assert (told.opened, told.dropped, told.reconnected) == (4, 2, 0)
    assert told.refused >= 2
    ended = [life for life in lives if life.opened_s is not None and life.end]
    assert {(life.end, life.version) for life in ended} == {("closed by the server, 1001", "1")}
    assert [life.version for life in lives if not life.end] == ["2", "2"]


def answered(outcomes: list[Outcome]) -> int:
    return sum(not each.failure for each in outcomes)


ENDS = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12)


@given(st.lists(ENDS, max_size=4))
def test_every_attempt_is_counted_once(sockets: list[list[tuple[bool, bool]]]) -> None:
    lives = [
        Life(
            number=number,
            asked_s=float(turn),
            opened_s=turn + 0.1 if is_open else None,
            ended_s=turn + 0.5,
            end="gone" if is_dropped or not is_open else "",
        )
        for number, ends in enumerate(sockets)
        for turn, (is_open, is_dropped) in enumerate(ends)
    ]
    told = counts(lives)

    assert told.opened + told.refused == len(lives)
    assert told.dropped == sum(bool(life.end) for life in lives if life.opened_s is not None)
    assert told.reconnected <= min(told.dropped, told.opened)


def test_a_dropped_socket_whose_next_attempt_is_refused_was_not_reconnected() -> None:
    lives = [
        Life(number=0, asked_s=0.0, opened_s=0.1, ended_s=1.0, end="gone", echoes=3),
        Life(number=0, asked_s=1.0, opened_s=1.1, ended_s=2.0, end="gone", echoes=2),
        Life(number=0, asked_s=2.0, ended_s=2.1, end="status 503"),
        Life(number=0, asked_s=2.3, opened_s=2.4, ended_s=3.0),
    ]

    assert counts(lives) == SocketCounts(opened=3, dropped=2, reconnected=1, refused=1, echoes=5)


def test_the_own_address_is_found_in_the_file_of_hosts() -> None:
    text = "127.0.0.1 localhost\n198.19.1.2\tweb-1 # us\n# 1.1.1.1 web-2\n"
    assert address_in(text, "web-1") == "198.19.1.2"
    assert address_in(text, "web-2") == ""
