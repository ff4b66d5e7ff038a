"""`hafen serve` on real processes: what ends comes back, what is told to stop stops."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from deploy.host.parts import Part
from deploy.lab.cgroups import is_alive
from tests.waiting import until

pytestmark = pytest.mark.real

HERE = Path(__file__).parent
Start = Callable[[Sequence[Part]], Awaitable[Process]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start supervisors in one run directory; kill what is left of them and of their parts."""
    started: list[Process] = []
    said = (tmp_path / "said").open("wb")

    async def start_one(parts: Sequence[Part]) -> Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(HERE / "supervised.py"),
            "parts",
            msgspec.json.encode(parts).decode(),
            str(tmp_path),
            stderr=said,
            env={**os.environ, "PYTHONPATH": str(HERE.parents[1])},
        )
        started.append(process)
        return process

    yield start_one
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.wait()
    said.close()
    kill_parts(tmp_path)


def kill_parts(directory: Path) -> None:
    for pid in [pid for log in directory.glob("log*") for pid in pids(log)]:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def part(name: str, log: Path, *, on_term: str = "exit 0", stop_s: float = 5.0) -> Part:
    """Return a part that logs its start with its pid and its stop, and obeys SIGTERM as told."""
    script = (
        f'trap \'echo "stop $1" >> "$2"; {on_term}\' TERM; '
        'echo "start $1 $$" >> "$2"; '
        "while :; do sleep 0.02; done"
    )
    return Part(name=name, argv=("sh", "-c", script, "sh", name, str(log)), stop_s=stop_s)


def lines(log: Path) -> list[list[str]]:
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def pids(log: Path) -> list[int]:
    return [int(words[2]) for words in lines(log) if words[0] == "start"]


async def test_parts_stop_in_the_opposite_order_of_their_start(
    start: Start, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    process = await start([part(name, log) for name in ("etcd", "scheduler", "agent")])
    await until(lambda: len(pids(log)) == 3, 10)

    process.terminate()

    assert await process.wait() == 0
    stops = [words[1] for words in lines(log) if words[0] == "stop"]
    assert stops == ["agent", "scheduler", "etcd"]


async def test_a_part_that_ends_is_started_again_and_the_others_are_left_alone(
    start: Start, tmp_path: Path
) -> None:
    one, two = tmp_path / "log-one", tmp_path / "log-two"
    await start([part("one", one), part("two", two)])
    await until(lambda: bool(pids(one) and pids(two)), 10)

    os.kill(pids(one)[0], signal.SIGKILL)
    await until(lambda: len(pids(one)) == 2, 10)

    assert pids(one)[0] != pids(one)[1]
    assert len(pids(two)) == 1
    assert is_alive(pids(two)[0])


async def test_a_part_that_ignores_sigterm_is_killed_after_its_deadline(
    start: Start, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    process = await start([part("deaf", log, on_term=":", stop_s=2.0)])
    await until(lambda: bool(pids(log)), 10)

    process.terminate()

    assert await process.wait() == 0
    assert ["stop", "deaf"] in lines(log)
    assert not is_alive(pids(log)[0])


async def test_no_part_outlives_a_supervisor_that_is_killed(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = await start([part("one", log), part("two", log)])
    await until(lambda: len(pids(log)) == 2, 10)

    process.kill()

    await until(lambda: not any(is_alive(pid) for pid in pids(log)), 5)
    again = await start([part("three", log)])
    await until(lambda: len(pids(log)) == 3, 10)
    assert again.returncode is None


async def test_what_a_part_put_in_a_session_of_its_own_survives_stop_and_crash(
    start: Start, tmp_path: Path
) -> None:
    log, container = tmp_path / "log", tmp_path / "container"
    script = (
        '[ -e "$2" ] || setsid sh -c \'echo $$ > "$1.new"; mv "$1.new" "$1"; exec sleep 60\' '
        'sh "$2" > /dev/null 2>&1 & echo "start agent $$" >> "$1"; while :; do sleep 0.02; done'
    )
    agent = Part(name="agent", argv=("sh", "-c", script, "sh", str(log), str(container)))
    first = await start([agent])
    await until(container.exists, 10)
    pid = int(container.read_text())
    try:
        first.terminate()
        await first.wait()
        assert is_alive(pid)
        second = await start([agent])
        await until(lambda: len(pids(log)) == 2, 10)
        second.kill()
        await until(lambda: not is_alive(pids(log)[1]), 5)
        assert is_alive(pid)
    finally:
        os.kill(pid, signal.SIGKILL)


async def test_a_second_supervisor_is_refused_and_told_of_the_first(
    start: Start, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    first = await start([part("one", log)])
    await until(lambda: bool(pids(log)), 10)

    second = await start([part("one", log)])
    assert await second.wait() == 1

    said = (tmp_path / "said").read_text()
    assert f"`hafen serve` runs on this host already (pid {first.pid})\n" in said
    assert len(pids(log)) == 1
