"""Who listens on which TCP port of this network namespace, as the kernel lists it under /proc."""

import ipaddress
import struct
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

import msgspec

# Columns of the kernel's table, and the state that means "listening".
_LOCAL: Final = 1
_STATE: Final = 3
_INODE: Final = 9
_LISTEN: Final = "0A"
_PROC: Final = Path("/proc")


class Listener(msgspec.Struct, frozen=True):
    """A listening TCP socket. `inode` names it in the file descriptors of whoever has it open."""

    address: str
    port: int
    inode: int

    def blocks(self, port: int, addresses: AbstractSet[str]) -> bool:
        """Say whether a new listener on `port` of one of `addresses` (IPv4) would be refused."""
        return self.port == port and (
            self.address in addresses or ipaddress.ip_address(self.address).is_unspecified
        )


def parse(table: str) -> list[Listener]:
    """Return the listeners in the text of /proc/net/tcp or /proc/net/tcp6."""
    rows = (line.split() for line in table.splitlines()[1:])
    return [_listener(row) for row in rows if len(row) > _INODE and row[_STATE] == _LISTEN]


def _listener(row: list[str]) -> Listener:
    address, _, port = row[_LOCAL].partition(":")
    # The kernel prints the address as 32-bit words in the byte order of this machine.
    words = [int(address[start : start + 8], 16) for start in range(0, len(address), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    found = ipaddress.ip_address(packed)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return Listener(str(mapped or found), int(port, 16), int(row[_INODE]))


def listening() -> list[Listener]:
    """Return all TCP listeners of this network namespace."""
    found = []
    for name in ("tcp", "tcp6"):
        path = _PROC / "net" / name
        if path.exists():
            found += parse(path.read_text())
    return found


def holder_of(inode: int) -> str:
    """Return "name (pid N)" of a process that has the socket open; empty when none shows."""
    wanted = f"socket:[{inode}]"
    for process in _PROC.iterdir():
        if process.name.isdigit() and any(link == wanted for link in _links(process / "fd")):
            return f"{_name(process)} (pid {process.name})"
    return ""


def _links(directory: Path) -> list[str]:
    try:
        return [_link(entry) for entry in directory.iterdir()]
    except OSError:
        return []  # the process ended while we looked


def _link(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except OSError:
        return ""  # closed while we looked, as the one through which we list ourselves is


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text().strip()
    except OSError:
        return "a process that has just ended"
