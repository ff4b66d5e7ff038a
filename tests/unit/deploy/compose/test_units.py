"""Durations, sizes and CPUs."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.compose.units import BYTES_MAX, DURATION_S_MAX, byte_count, cpu_millis, duration_s


def duration_text(milliseconds: int) -> str:
    """Write a duration with every unit it needs."""
    seconds, millis = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "m"), (seconds, "s"), (millis, "ms")]
    return "".join(f"{count}{unit}" for count, unit in parts if count) or "0"


@given(st.integers(0, DURATION_S_MAX * 1000))
def test_a_duration_that_is_written_is_read_again(milliseconds: int) -> None:
    assert duration_s(duration_text(milliseconds)) == milliseconds / 1000


@given(st.integers(0, 2**20), st.sampled_from("bkmgtp"), st.sampled_from(["{}", "{}b", "{}ib"]))
def test_a_size_that_is_written_is_read_again(count: int, unit: str, form: str) -> None:
    power = "bkmgtp".index(unit)
    text = f"{count}{'b' if power == 0 else form.format(unit)}"
    expected = count * 1024**power
    if expected > BYTES_MAX:
        with pytest.raises(ValueError, match="at most"):
            byte_count(text)
    else:
        assert byte_count(text) == byte_count(text.upper()) == expected


@given(st.integers(0, 65_536_000))
def test_cpus_that_are_written_are_read_again(millis: int) -> None:
    assert cpu_millis(str(Decimal(millis) / 1000)) == millis


def outcome(convert: Callable[[str], float], text: str) -> str:
    """Return what kind of answer a text gets."""
    try:
        return "a number" if convert(text) >= 0 else "less than nothing"
    except ValueError as error:
        return str(error).split()[0]


@given(st.text() | st.text(alphabet="0123456789.hmskgibµu -eE", max_size=80))
@pytest.mark.parametrize("convert", [duration_s, byte_count, cpu_millis])
def test_any_text_is_a_number_or_a_value_error(convert: Callable[[str], float], text: str) -> None:
    assert outcome(convert, text) in {"a number", "expected"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1m30s", 90),
        ("10s", 10),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("2.s", 2),
        ("250ms", 0.25),
        ("100us", 0.0001),
        ("100µs", 0.0001),
        ("0s", 0),
        ("1s1s", 2),
    ],
)
def test_durations_of_compose(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("64M", 64 << 20),
        ("1gb", 1 << 30),
        ("1.5g", 3 << 29),
        ("512", 512),
        ("512 k", 512 << 10),
        ("2GiB", 2 << 30),
        ("0.3k", 307),
        ("0", 0),
    ],
)
def test_sizes_of_compose(text: str, count: int) -> None:
    assert byte_count(text) == count


@pytest.mark.parametrize(
    "text", ["", "10", "s", "1 s", "-1s", "1d", "1e3s", "\u0661s", "1s\n", "1..s"]
)
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a duration such as 10s or 1m30s$"):
        duration_s(text)


@pytest.mark.parametrize("text", ["", "m", "64i", "64ib", "64mbit", "-1m", "1e3", "٣m", "1m\n"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a size such as 64M or 1gb$"):
        byte_count(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("half", "a number of CPUs such as 0.5"),
        ("500m", "a number of CPUs such as 0.5"),
        ("0.0005", "at most three digits after the point"),
        ("100000", "at most 65536 CPUs"),
        ("1" * 65, "a number of CPUs such as 0.5"),
    ],
)
def test_what_is_no_number_of_cpus(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^expected {why}$"):
        cpu_millis(text)


def test_a_duration_has_an_end() -> None:
    with pytest.raises(ValueError, match=r"^expected at most 8784h$"):
        duration_s("8785h")
