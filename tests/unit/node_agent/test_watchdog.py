"""The watchdog is fed only while a machine that then fell silent would be reset in time."""

import asyncio
import errno
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.watchdog import SET_TIMEOUT, Watchdog, may_feed, timeout_s
from shared.clock import SystemClock
from shared.errors import HostError
from shared.timing import PROFILES
from tests.waiting import until

SECONDS = st.floats(0, 1e6)
WITHIN_S = 5.0


class Device:
    """A file in a watchdog's place, and what the kernel says to ioctl."""

    def __init__(self, directory: Path, slowest_s: int = 1) -> None:
        self.path = directory / "watchdog"
        self.path.touch()
        self._slowest_s = slowest_s
        self.until_s, self.exclusive_runs = 0.0, True

    def ioctl(self, fd: int, number: int, argument: bytes) -> bytes:
        assert os.fstat(fd).st_ino == self.path.stat().st_ino
        assert number == SET_TIMEOUT
        return struct.pack("i", max(struct.unpack("i", argument)[0], self._slowest_s))

    def watchdog(self, lease_ttl_s: float = 2.0) -> Watchdog:
        return Watchdog(
            self.path,
            lease_ttl_s,
            SystemClock(),
            until_s=lambda: self.until_s,
            exclusive_runs=lambda: self.exclusive_runs,
            ioctl=self.ioctl,
        )

    def eaten(self) -> bytes:
        return self.path.read_bytes()


async def run_until(device: Device, condition: Callable[[], bool]) -> None:
    """Run a watchdog, and stop it when the condition holds."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(device.watchdog().run())
        await until(condition, WITHIN_S)
        task.cancel()


@given(SECONDS, SECONDS, st.integers(1, 100))
def test_whoever_is_fed_would_be_reset_before_the_work_may_run_elsewhere(
    now_s: float, until_s: float, timeout: int
) -> None:
    assert may_feed(now_s, until_s, timeout, exclusive_runs=False)
    if may_feed(now_s, until_s, timeout, exclusive_runs=True):
        assert now_s + timeout <= until_s


@pytest.mark.parametrize("profile", PROFILES)
def test_a_session_that_is_renewed_feeds_it(profile: str) -> None:
    timing = PROFILES[profile]
    # Just before the next keep-alive is acknowledged, in the worst case.
    left_s = timing.lease_ttl_s * 2 / 3 - timing.fence_margin_s

    assert may_feed(0.0, left_s, timeout_s(timing.lease_ttl_s), exclusive_runs=True)


def test_a_short_lease_still_gets_a_whole_second() -> None:
    assert timeout_s(0.3) == 1


async def test_it_is_put_to_sleep_when_nothing_exclusive_runs(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.exclusive_runs = False
    await run_until(device, lambda: len(device.eaten()) > 1)

    assert device.eaten().endswith(b"\0V")


async def test_it_stays_awake_while_something_exclusive_runs(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.until_s = SystemClock().boot_s() + 1000
    await run_until(device, lambda: len(device.eaten()) > 1)

    assert b"V" not in device.eaten()


async def test_it_starves_when_the_moment_comes_near(tmp_path: Path) -> None:
    device = Device(tmp_path)
    device.until_s = SystemClock().boot_s() + 1.5
    await run_until(device, lambda: SystemClock().boot_s() > device.until_s)

    assert 1 <= len(device.eaten()) <= 3


def test_a_device_that_is_too_slow_is_refused_and_put_to_sleep(tmp_path: Path) -> None:
    device = Device(tmp_path, slowest_s=10)
    with pytest.raises(HostError, match="cannot be set below 10 s, 1 s needed"):
        device.watchdog()

    assert device.eaten() == b"V"
    device.watchdog(lease_ttl_s=30.0)


def test_what_is_no_watchdog_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=f"nothing: {os.strerror(errno.ENOENT)}"):
        Watchdog(tmp_path / "nothing", 2, SystemClock(), until_s=float, exclusive_runs=bool)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(HostError, match=os.strerror(errno.ENOTTY)):
        Watchdog(file, 2, SystemClock(), until_s=float, exclusive_runs=bool)
