"""The UDP port by which agents ask each other."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable
from typing import Final

from node_agent.peers.wire import DATAGRAM_BYTES
from shared.errors import HostError

# DSCP CS6, what routing protocols have: a full queue must not drop the proof that a host lives.
TOS: Final = 0xC0
# After this many datagrams everybody else in the event loop has a turn.
BATCH_MAX: Final = 64


class UdpPort:
    """A port of one address; `received` is told the sender's address and the bytes."""

    def __init__(self, address: str, port: int) -> None:
        self._address, self._port = address, port
        self._socket: socket.socket | None = None

    def open(self, received: Callable[[str, bytes], None]) -> None:
        """Bind, and begin to receive.

        Raises:
            HostError: the address is not this host's, or the port is taken.
        """
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.setblocking(False)  # noqa: FBT003 - the standard library's name for it
        try:
            one.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, TOS)
            one.bind((self._address, self._port))
        except OSError as error:
            one.close()
            raise HostError(self._why(error)) from error
        self._socket = one
        asyncio.get_running_loop().add_reader(one, _drain, one, received)

    def _why(self, error: OSError) -> str:
        where = f"UDP port {self._port} of {self._address}"
        if error.errno == errno.EADDRINUSE:
            return f"{where} is taken; `ss -lnup` says by whom"
        return f"{where}: {error.strerror}; `address` must be one of this host's"

    def send(self, address: str, datagram: bytes) -> None:
        """Send; what the kernel refuses is lost like any other packet."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                self._socket.sendto(datagram, (address, self._port))

    def close(self) -> None:
        """Receive no more."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None


def _drain(one: socket.socket, received: Callable[[str, bytes], None]) -> None:
    # One byte more than ours have: what is longer is then seen to be none of ours.
    for _ in range(BATCH_MAX):
        try:
            data, (address, _port) = one.recvfrom(DATAGRAM_BYTES + 1)
        except OSError:
            return  # Nothing more, or an error of the link: the kernel has cleared it by telling.
        received(address, data)
