"""An access log that is cut short while somebody reads it: every request once, in order."""

import asyncio
import json
import tempfile
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from node_agent.gateway.access import AccessLog, Lines, Wanted
from node_agent.gateway.process import OUTPUT_BYTES_MAX, Haproxy
from shared.clock import Clock, SystemClock

OURS, OTHERS = "shop.web", "shop.api"
WANTED = Wanted(services={OURS})


def line(number: int, service: str = OURS, **more: object) -> bytes:
    said = {"at_ms": number, "service": service, "path": f"/{number}", **more}
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"


@given(st.lists(st.integers(0, 99)), st.lists(st.integers(1, 40)))
def test_lines_are_read_however_they_are_cut(numbers: list[int], cuts: list[int]) -> None:
    text = b"".join(line(n, OURS if n % 3 else OTHERS) for n in numbers)
    lines, found = Lines(WANTED), []
    for cut in cuts:
        found += lines.feed(text[:cut])
        text = text[cut:]
    found += lines.feed(text)
    assert [entry.at_ms for entry in found] == [n for n in numbers if n % 3]


@given(st.binary(max_size=200), st.sampled_from([b"", b'"service":"shop.web"', b"{" * 20_000]))
def test_what_is_no_request_is_passed_over(garbage: bytes, more: bytes) -> None:
    lines = Lines(WANTED)
    lines.feed(garbage.replace(b"\n", b"") + more + b"\n")
    assert [entry.at_ms for entry in lines.feed(line(7))] == [7]


def test_a_client_cannot_write_in_another_service_s_name() -> None:
    forged = line(1, OTHERS, host='x","service":"shop.web","y":"')
    assert Lines(WANTED).feed(forged) == []
    assert Lines(WANTED).feed(b'{"service":"shop.api","x":{"service":"shop.web"}}\n') == []


class Written:
    """HAProxy's files, as they grow and are cut short by the agent."""

    def __init__(self, folder: Path) -> None:
        self.haproxy, self.count = Haproxy(folder), 0

    def log(self, clock: Clock) -> AccessLog:
        return AccessLog(self.haproxy.output, self.haproxy.older_output, clock)

    def write(self, lines: int = 1) -> None:
        with self.haproxy.output.open("ab") as output:
            for _ in range(lines):
                self.count += 1
                output.write(line(self.count))

    def have(self, what: str) -> None:
        {"write": self.write, "move": self.move, "both": self.write_and_move}[what]()

    def write_and_move(self) -> None:
        self.write(2)
        self.move()

    def move(self) -> None:
        """Write of others until the file is so long that it moves on."""
        with self.haproxy.output.open("ab") as output:
            output.write(line(0, OTHERS, path="x" * 1000) * (OUTPUT_BYTES_MAX // 1000 + 1))
        self.haproxy.rotate()


@contextmanager
def written() -> Iterator[Written]:
    with tempfile.TemporaryDirectory() as folder:
        yield Written(Path(folder))


class Busy(SystemClock):
    """Has something happen whenever somebody waits."""

    def __init__(self, then: list[str], files: Written) -> None:
        self.then, self.files = then, files

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.files.have(self.then.pop(0))


HAPPENINGS = st.lists(st.sampled_from(["write", "move", "both"]), max_size=6)


@pytest.mark.parametrize("before", [["write"], ["write", "move", "write"], ["move", "write"], []])
@settings(max_examples=25)  # each writes megabytes
@given(later=HAPPENINGS)
def test_who_follows_gets_every_request_once_whenever_the_file_moves(
    before: list[str], later: list[str]
) -> None:
    async def follow() -> list[int]:
        with written() as files:
            busy = Busy([*later, "write"], files)
            for what in before:
                files.have(what)
            due = files.count + later.count("write") + 2 * later.count("both") + 1
            async with aclosing(files.log(busy).read(Wanted(services={OURS}, follow=True))) as all_:
                return [(await anext(all_)).at_ms for _ in range(due)]

    found = asyncio.run(follow())
    assert found == list(range(1, len(found) + 1))


async def test_the_last_ones_and_those_since_a_moment_are_read_of_both_files(
    tmp_path: Path,
) -> None:
    files = Written(tmp_path)
    files.write(3)
    files.move()
    files.write(2)
    log = files.log(SystemClock())

    async def read(wanted: Wanted) -> list[int]:
        return [entry.at_ms async for entry in log.read(wanted)]

    assert await read(WANTED) == [1, 2, 3, 4, 5]
    assert await read(Wanted(services={OURS}, tail=3)) == [3, 4, 5]
    assert await read(Wanted(services={OURS}, tail=0)) == []
    assert await read(Wanted(services={OURS}, since_ms=2)) == [2, 3, 4, 5]
    for file in (files.haproxy.older_output,):
        assert file.stat().st_mode & 0o777 == 0o600
    sizes = [f.stat().st_size for f in (files.haproxy.output, files.haproxy.older_output)]
    assert sizes[0] < 1000 < OUTPUT_BYTES_MAX < sizes[1]
