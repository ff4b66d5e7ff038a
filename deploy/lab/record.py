"""What a lab remembers between two commands, and the lock that one command holds.

The record is written before the first thing is made: whatever dies after that, the next command
finds the lab and clears it.
"""

import asyncio
import enum
import fcntl
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, Final

import msgspec

from deploy.host.files import write_file
from deploy.lab.cgroups import started_ticks
from deploy.lab.plan import LOCK_ROOT, STATE_ROOT, Host, Paths
from shared.errors import HostError, NotFoundError

_LOCK_S: Final = 30.0
_POLL_S: Final = 0.05


class Phase(enum.StrEnum):
    """How far `up` came. Any other command finds STARTING only after a crash."""

    STARTING = "starting"
    UP = "up"


class Init(msgspec.Struct, frozen=True):
    """Process 1 of a host. A pid may come to mean another process; with its start it cannot."""

    pid: int
    started_ticks: int

    def is_alive(self) -> bool:
        """Say whether this very process lives."""
        return started_ticks(self.pid) == self.started_ticks


class LabRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A lab.

    Attributes:
        machine_boot: the machine's boot id: after a reboot of it only the files are left.
        program: what every host runs.
        inits: process 1 of every host that was not switched off, by host.
    """

    name: str
    hosts: tuple[Host, ...]
    program: tuple[str, ...]
    phase: Phase
    machine_boot: str
    inits: Mapping[str, Init] = {}

    def with_inits(self, changes: Mapping[str, Init | None]) -> "LabRecord":
        """Return the record with some hosts' process 1 replaced; None: switched off."""
        inits = {name: init for name, init in {**self.inits, **changes}.items() if init}
        return msgspec.structs.replace(self, inits=inits)

    def host(self, name: str) -> Host:
        """Return the host called `name`.

        Raises:
            NotFoundError: there is none; names those that are.
        """
        found = next((host for host in self.hosts if host.name == name), None)
        if found is None:
            known = ", ".join(host.name for host in self.hosts)
            raise NotFoundError(f"lab {self.name} has no host {name}, only {known}")
        return found


def machine_boot() -> str:
    """Return an id that changes when the machine reboots."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def read(paths: Paths) -> LabRecord | None:
    """Return the lab's record, None if there is no such lab.

    Raises:
        HostError: the file cannot be understood.
    """
    try:
        return msgspec.json.decode(paths.record.read_bytes(), type=LabRecord)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, OSError) as error:
        raise HostError(
            f"{paths.record}: {error}; `hafen lab down --name {paths.lab}` removes the lab"
        ) from error


def require(paths: Paths) -> LabRecord:
    """Return the record of a lab that is up.

    Raises:
        NotFoundError: it is not; says which labs are, and how to make it.
    """
    record = read(paths)
    if record is None or record.phase is not Phase.UP or record.machine_boot != machine_boot():
        others = [name for name in names() if name != paths.lab]
        known = f" (up: {', '.join(others)})" if others else ""
        raise NotFoundError(
            f"no lab {paths.lab} is up{known}: `hafen lab up --name {paths.lab}` makes it"
        )
    return record


def write(paths: Paths, record: LabRecord) -> None:
    """Replace the record in one step."""
    paths.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_file(paths.record, msgspec.json.format(msgspec.json.encode(record)), 0o600)


def names() -> list[str]:
    """Return the names of all labs that have files on this machine, sorted."""
    if not STATE_ROOT.is_dir():
        return []
    return sorted(path.name for path in STATE_ROOT.iterdir() if path.is_dir())


@asynccontextmanager
async def locked(paths: Paths) -> AsyncIterator[None]:
    """Hold the lab's lock: one command at a time changes it.

    Raises:
        HostError: another command has held it for too long.
    """
    async with _flocked(paths.lock, f"lab {paths.lab}"):
        yield


@asynccontextmanager
async def all_labs_locked() -> AsyncIterator[None]:
    """Hold the lock over what labs have in common; only for a moment."""
    async with _flocked(LOCK_ROOT / "hafen-labs.lock", "the set of labs"):
        yield


@asynccontextmanager
async def _flocked(path: Path, what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(_LOCK_S):
            file = await _take(path)
    except TimeoutError as error:
        raise HostError(f"{what} is busy: another `hafen lab` command is at work") from error
    try:
        yield
    finally:
        _release(path, file)


async def _take(path: Path) -> IO[str]:
    while True:
        file = path.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_current(path, file):
                return file
        except BlockingIOError:
            await asyncio.sleep(_POLL_S)
        except BaseException:
            file.close()
            raise
        file.close()


def _release(path: Path, file: IO[str]) -> None:
    # Removed while still held: whoever waits for it sees that its file is no longer the one.
    path.unlink(missing_ok=True)
    file.close()


def _is_current(path: Path, file: IO[str]) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
