"""The machine's watchdog: it resets a machine whose kernel no longer ends what must end in time.

The fuse of an exclusive container needs a kernel that works. Where that is not enough, the watchdog
is fed only while the machine may run what it runs: it is silent for a whole timeout before the
moment passes at which the work may be running elsewhere.
"""

import fcntl
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

import structlog

from shared.clock import Clock
from shared.errors import HostError

_log = structlog.get_logger()

# From the kernel's linux/watchdog.h: _IOWR('W', 6, int).
SET_TIMEOUT: Final = 0xC004_5706
# Closing after this character means it: the watchdog is put to sleep.
_DISARM: Final = b"V"
_FOOD: Final = b"\0"
# Feeding it so often in a timeout leaves room for a busy machine.
_FEEDS: Final = 4
# Of the lease. What remains is for the renewals, which come every third of it.
_SHARE: Final = 0.5


def timeout_s(lease_ttl_s: float) -> int:
    """Return the timeout to ask for: whole seconds, as the device has it."""
    return max(int(lease_ttl_s * _SHARE), 1)


def may_feed(now_s: float, until_s: float, timeout: float, *, exclusive_runs: bool) -> bool:
    """Say whether a machine that is fed now would be reset in time if it never were again.

    Args:
        now_s: on the boot clock.
        until_s: until when exclusive containers may run here, on the same clock.
        timeout: of the device, in seconds.
        exclusive_runs: any may be running.
    """
    return not exclusive_runs or now_s + timeout <= until_s


class Watchdog:
    """Feeds the watchdog while that is right.

    Args:
        device: such as /dev/watchdog.
        lease_ttl_s: of the node's session.
        clock: its boot clock counts.
        until_s: until when exclusive containers may run here, as last told to the runtime.
        exclusive_runs: says whether any may be running here.
        ioctl: the system call.

    Raises:
        HostError: there is no such device, or it cannot be made fast enough.
    """

    def __init__(
        self,
        device: Path,
        lease_ttl_s: float,
        clock: Clock,
        *,
        until_s: Callable[[], float],
        exclusive_runs: Callable[[], bool],
        ioctl: Callable[[int, int, bytes], bytes] = fcntl.ioctl,
    ) -> None:
        self._clock, self._until_s, self._exclusive_runs = clock, until_s, exclusive_runs
        try:
            self._fd = os.open(device, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            raise HostError(f"watchdog {device}: {error.strerror}") from error
        try:
            self._timeout_s = _set_timeout(self._fd, device, lease_ttl_s, ioctl)
        except HostError:
            self._close(disarm=True)
            raise

    async def run(self) -> NoReturn:
        """Feed it until cancelled; then put it to sleep if nothing exclusive runs here.

        If something does, the next agent must open it within the timeout, or the machine is reset.
        """
        fed = True
        try:
            while True:
                fed, before = self._feed(), fed
                if before and not fed:
                    _log.error("watchdog_starves", reset_in_s=self._timeout_s)
                await self._clock.sleep(self._timeout_s / _FEEDS)
        finally:
            self._close(disarm=not self._exclusive_runs())

    def _feed(self) -> bool:
        now_s, until_s = self._clock.boot_s(), self._until_s()
        if not may_feed(now_s, until_s, self._timeout_s, exclusive_runs=self._exclusive_runs()):
            return False
        os.write(self._fd, _FOOD)
        return True

    def _close(self, *, disarm: bool) -> None:
        try:
            if disarm:
                os.write(self._fd, _DISARM)
        finally:
            os.close(self._fd)


def _set_timeout(
    fd: int, device: Path, lease_ttl_s: float, ioctl: Callable[[int, int, bytes], bytes]
) -> int:
    """Set the timeout and return it.

    Raises:
        HostError: it is no watchdog, or it is too slow for the lease.
    """
    wanted = timeout_s(lease_ttl_s)
    try:
        (given,) = struct.unpack("i", ioctl(fd, SET_TIMEOUT, struct.pack("i", wanted)))
    except OSError as error:
        raise HostError(f"watchdog {device}: cannot set a timeout: {error.strerror}") from error
    if given > wanted:
        raise HostError(
            f"watchdog {device}: cannot be set below {given} s, {wanted} s needed; choose a slower"
            f" profile or leave `watchdog` out"
        )
    return int(given)
