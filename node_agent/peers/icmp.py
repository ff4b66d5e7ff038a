"""Echo requests to kernels, and the replies to them."""

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import Callable
from typing import Final

from node_agent.peers.echo import ECHO_REPLY, HEADER, reply, request
from node_agent.peers.udp import BATCH_MAX, TOS
from node_agent.peers.wire import DATAGRAM_BYTES
from shared.errors import HostError

# linux/icmp.h: which types a raw socket is not given, as a set of bits.
_SOL_RAW: Final = 255
_ICMP_FILTER: Final = 1
_ALL_BUT_REPLIES: Final = 0xFFFFFFFF & ~(1 << ECHO_REPLY)
_IP_HEADER_BYTES_MAX: Final = 60


class Echo:
    """Asks from one address; `received` is told who replied, and the bytes that came back."""

    def __init__(self, address: str) -> None:
        self._address = address
        # A kernel hands every reply to every such socket: the id tells ours apart.
        self._id, self._number = os.getpid() & 0xFFFF, 0
        self._socket: socket.socket | None = None

    def open(self, received: Callable[[str, bytes], None]) -> None:
        """Begin to receive.

        Raises:
            HostError: no right to, or the address is not this host's.
        """
        try:
            one = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        except PermissionError as error:
            raise HostError("ICMP needs root or CAP_NET_RAW") from error
        one.setblocking(False)  # noqa: FBT003 - the standard library's name for it
        try:
            one.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, TOS)
            one.setsockopt(_SOL_RAW, _ICMP_FILTER, struct.pack("=I", _ALL_BUT_REPLIES))
            one.bind((self._address, 0))
        except OSError as error:
            one.close()
            why = f"{error.strerror}; `address` must be one of this host's"
            raise HostError(f"ICMP from {self._address}: {why}") from error
        self._socket = one
        asyncio.get_running_loop().add_reader(one, self._drain, one, received)

    def send(self, address: str, payload: bytes) -> None:
        """Ask; what the kernel refuses is lost like any other packet."""
        if self._socket is not None:
            self._number = (self._number + 1) & 0xFFFF
            with contextlib.suppress(OSError):
                self._socket.sendto(request(self._id, self._number, payload), (address, 0))

    def close(self) -> None:
        """Receive no more."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _drain(self, one: socket.socket, received: Callable[[str, bytes], None]) -> None:
        for _ in range(BATCH_MAX):
            try:
                packet, (address, _) = one.recvfrom(
                    _IP_HEADER_BYTES_MAX + HEADER.size + DATAGRAM_BYTES + 1
                )
            except OSError:
                return  # Nothing more, or an error of the link, cleared by being told.
            payload = reply(self._id, packet)
            if payload is not None:
                received(address, payload)
