"""Sees from outside of an agent when what it was told has come to pass on its node.

What has a socket is made in the namespace that it is to look at, and may then be used anywhere.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from node_agent.balance.table import NAME as SERVICES_TABLE
from node_agent.network.rules import TABLE as NETWORK_TABLE

_NETFILTER: Final = 12
_ADD_MEMBERSHIP: Final = 1
_SOL_NETLINK: Final = 270
_SO_RCVBUFFORCE: Final = 33
_NFNLGRP_NFTABLES: Final = 7
_HEADER: Final = struct.Struct("=IHHII")
_FAMILY_BYTES: Final = 4
_ATTRIBUTE: Final = struct.Struct("=HH")
# What ends a transaction has no table, its first attribute is a number.
_NEW_GENERATION: Final = 15
_BYTES_MAX: Final = 1 << 20
_SOCKET_BYTES: Final = 1 << 24
# How exactly the moment is found at which a process has something.
_POLL_S: Final = 0.01
_ANSWER_S: Final = 1.0
# Columns of `show servers state`.
_ADDRESS, _ADMIN_STATE = 4, 6


class Kernel:
    """Hears from the kernel of every change of nftables, and notes when each table's was."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETFILTER)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _SOCKET_BYTES)
        self._socket.bind((0, 0))
        self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _NFNLGRP_NFTABLES)
        self._socket.setblocking(False)  # noqa: FBT003 - the standard library's
        self._touched: set[str] = set()
        self.changed_s: dict[str, float] = {}

    def begin(self) -> None:
        """Hear in this event loop from now on."""
        asyncio.get_running_loop().add_reader(self._socket, self._hear)

    def end(self) -> None:
        """Hear no more."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _hear(self) -> None:
        at_s = time.perf_counter()
        with suppress(OSError):
            while True:
                for kind, table in _messages(self._socket.recv(_BYTES_MAX)):
                    if kind == _NEW_GENERATION:
                        self.changed_s |= dict.fromkeys(self._touched, at_s)
                        self._touched.clear()
                    else:
                        self._touched.add(table)


def _messages(data: bytes) -> Iterator[tuple[int, str]]:
    at = 0
    while at < len(data):
        length, kind, _, _, _ = _HEADER.unpack_from(data, at)
        first = at + _HEADER.size + _FAMILY_BYTES
        size, _ = _ATTRIBUTE.unpack_from(data, first)
        value = data[first + _ATTRIBUTE.size : first + size]
        yield kind & 0xFF, value.rstrip(b"\0").decode(errors="replace")
        at += (length + 3) & ~3


def gateway_leads_to(admin: Path, backend: str, address: str) -> bool:
    """Say whether one of the slots of HAProxy's backend has the address and takes requests."""
    with socket.socket(socket.AF_UNIX) as talk:
        talk.settimeout(_ANSWER_S)
        talk.connect(str(admin))
        talk.sendall(f"show servers state {backend}\n".encode())
        said = b"".join(iter(lambda: talk.recv(1 << 16), b"")).decode()
    rows = (line.split() for line in said.splitlines())
    return any(
        len(row) > _ADMIN_STATE and row[_ADDRESS] == address and row[_ADMIN_STATE] == "0"
        for row in rows
    )


def resolver(server: str) -> socket.socket:
    """Return what asks a name server."""
    talk = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    talk.settimeout(_ANSWER_S)
    talk.connect((server, 53))
    return talk


def names_lead_to(talk: socket.socket, question: bytes, address: str) -> bool:
    """Say whether a name server's answer to a question has the address among others."""
    with suppress(TimeoutError, ConnectionRefusedError):
        talk.send(question)
        return socket.inet_aton(address) in talk.recv(4096)
    return False


async def when(holds: Callable[[], bool], within_s: float) -> float:
    """Return the moment at which something is seen to hold; it is asked by a thread.

    Raises:
        TimeoutError: it did not hold in time.
    """
    return await asyncio.to_thread(_when, holds, time.perf_counter() + within_s)


def _when(holds: Callable[[], bool], until_s: float) -> float:
    while True:
        asked_s = time.perf_counter()
        if holds():
            return time.perf_counter()
        if asked_s > until_s:
            raise TimeoutError(f"not in time: {holds}")
        time.sleep(_POLL_S)


TABLES: Final = {"separation": NETWORK_TABLE, "map": SERVICES_TABLE}
