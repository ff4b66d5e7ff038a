"""conmon's log, put together again."""

import asyncio
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from node_agent.oci.k8slog import Joiner, read
from node_agent.runtime import LogLine
from shared.clock import SystemClock
from tests.waiting import until

AT = "2026-01-02T03:04:05.678901234Z"


def entry(text: str, *, stream: str = "stdout", flag: str = "F", at: str = AT) -> bytes:
    return f"{at} {stream} {flag} {text}\n".encode()


def test_a_whole_line_is_one_line() -> None:
    assert Joiner().feed(entry("hello  world ")) == [LogLine(AT, "stdout", "hello  world ")]


def test_the_parts_of_a_long_line_become_one_with_the_time_of_the_first() -> None:
    data = entry("one ", flag="P") + entry("two", at="later")

    assert Joiner().feed(data) == [LogLine(AT, "stdout", "one two")]


def test_parts_of_two_streams_do_not_mix() -> None:
    joiner = Joiner()
    data = entry("out ", flag="P") + entry("whole", stream="stderr") + entry("end")

    assert [(line.stream, line.text) for line in joiner.feed(data)] == [
        ("stderr", "whole"),
        ("stdout", "out end"),
    ]


def test_what_is_not_in_the_format_is_passed_over() -> None:
    assert Joiner().feed(b"nonsense\n\n" + entry("kept")) == [LogLine(AT, "stdout", "kept")]


def test_a_line_without_end_is_cut_before_it_fills_the_memory() -> None:
    part = entry("x" * 8192, flag="P")
    joiner = Joiner()

    lines = [line for _ in range(64) for line in joiner.feed(part)]
    assert [len(line.text) for line in lines] == [256 * 1024] * 2


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r"))),
    st.integers(1, 40),
)
def test_however_the_file_is_cut_the_lines_are_the_same(texts: list[str], size: int) -> None:
    data = b"".join(entry(text) for text in texts)
    joiner = Joiner()
    lines = [line for at in range(0, len(data), size) for line in joiner.feed(data[at : at + size])]

    assert [line.text for line in lines] == texts


async def test_only_the_tail_is_read_when_asked_for(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"".join(entry(str(number)) for number in range(10)))

    lines = [line.text async for line in read(file, SystemClock(), follow=False, tail=3)]
    assert lines == ["7", "8", "9"]


async def test_a_log_that_was_begun_anew_loses_nothing_for_who_follows(tmp_path: Path) -> None:
    directory = tmp_path / "container"
    directory.mkdir()
    file = directory / "log"
    file.write_bytes(entry("one"))
    heard: list[str] = []

    async def follow() -> None:
        async for line in read(file, SystemClock(), follow=True, tail=None):
            heard.append(line.text)  # noqa: PERF401 - read by the other task meanwhile

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(follow())
        await until(lambda: heard == ["one"], 5)
        with file.open("ab") as log:
            log.write(entry("two"))
        fresh = directory / "log.tmp"
        fresh.write_bytes(entry("three"))
        fresh.rename(file)
        await until(lambda: heard == ["one", "two", "three"], 5)
        file.unlink()
        directory.rmdir()
