"""Durations, sizes and CPU shares as Compose writes them -> plain numbers.

Pure. Every function takes the text and returns the number, or raises ValueError with what was
expected.
"""

import re
from decimal import Decimal
from typing import Final

DURATION_S_MAX: Final = 366 * 24 * 3600  # longer is a mistake, and must not overflow a timer
BYTES_MAX: Final = 1 << 60
CPUS_MAX: Final = 65_536

_CHARS_MAX: Final = 64  # so that no arithmetic ever sees a million digits
_SECONDS: Final = {
    "us": Decimal("0.000001"),
    "µs": Decimal("0.000001"),
    "ms": Decimal("0.001"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_NUMBER: Final = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"
_DURATION_PART: Final = re.compile(rf"({_NUMBER})(us|µs|ms|s|m|h)")
_DURATION: Final = re.compile(rf"(?:(?:{_NUMBER})(?:us|µs|ms|s|m|h))+")
_BYTES: Final = re.compile(rf"({_NUMBER}) ?(?:([kmgtp])i?)?b?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DECIMAL: Final = re.compile(_NUMBER)


def duration_s(text: str) -> float:
    """Return seconds: "1m30s", "10s", "1.5h", "500ms"; "0" needs no unit.

    Raises:
        ValueError: it is not a duration, or a longer one than DURATION_S_MAX.
    """
    if text == "0":
        return 0.0
    if len(text) > _CHARS_MAX or not _DURATION.fullmatch(text):
        raise ValueError("expected a duration such as 10s or 1m30s")
    parts: list[tuple[str, str]] = _DURATION_PART.findall(text)
    seconds = sum((Decimal(number) * _SECONDS[unit] for number, unit in parts), Decimal(0))
    if seconds > DURATION_S_MAX:
        raise ValueError(f"expected at most {DURATION_S_MAX // 3600}h")
    return float(seconds)


def byte_count(text: str) -> int:
    """Return bytes: "64M", "1gb", "1.5g", "512"; units are powers of 1024, as Docker has them.

    Raises:
        ValueError: it is not a size, not a whole number of bytes, or more than BYTES_MAX.
    """
    match = _BYTES.fullmatch(text) if len(text) <= _CHARS_MAX else None
    if match is None:
        raise ValueError("expected a size such as 64M or 1gb")
    count = Decimal(match.group(1)) * 1024 ** _POWERS[(match.group(2) or "").lower()]
    if count > BYTES_MAX:
        raise ValueError(f"expected at most {BYTES_MAX} bytes")
    return int(count)  # a part of a byte is dropped, as Docker does


def cpu_millis(text: str) -> int:
    """Return thousandths of a CPU: "0.5" is 500.

    Raises:
        ValueError: it is not a number of CPUs, or finer than a thousandth.
    """
    if len(text) > _CHARS_MAX or not _DECIMAL.fullmatch(text):
        raise ValueError("expected a number of CPUs such as 0.5")
    millis = Decimal(text) * 1000
    if millis > CPUS_MAX * 1000:
        raise ValueError(f"expected at most {CPUS_MAX} CPUs")
    if millis != int(millis):
        raise ValueError("expected at most three digits after the point")
    return int(millis)


def ratio(text: str) -> float:
    """Return a share: "0.25" is a quarter.

    Raises:
        ValueError: it is not a number from 0 to 1.
    """
    if len(text) > _CHARS_MAX or not _DECIMAL.fullmatch(text) or Decimal(text) > 1:
        raise ValueError("expected a number from 0 to 1")
    return float(text)
