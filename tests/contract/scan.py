"""A scan of all ports: a datagram to each of UDP, a SYN to each of TCP."""

import socket
import struct
from collections.abc import Iterator
from typing import Final

PORTS: Final = range(1, 1 << 16)
_FROM_PORT: Final = 40_000
# Ports, sequence, acknowledged, five words of header, SYN, window, checksum, nothing urgent.
_SEGMENT: Final = struct.Struct(">HHIIBBHHH")
_WORDS: Final = 5 << 4
_SYN: Final = 2
_WINDOW: Final = 64_240
_CHECKSUM_AT: Final = 16


def send_everywhere(source: str, target: str) -> None:
    """Send to every port of `target` from this machine's address `source`."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        for port in PORTS:
            udp.sendto(b"x", (target, port))
    with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_TCP) as tcp:
        if family is socket.AF_INET6:
            tcp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_CHECKSUM, _CHECKSUM_AT)
        for segment in _syns(source, target):
            tcp.sendto(segment, (target, 0))


def _syns(source: str, target: str) -> Iterator[bytes]:
    """Yield a SYN to each port; the kernel fills in the checksum of IPv6 by itself."""
    constant = 0
    if ":" not in target:
        ends = socket.inet_aton(source) + socket.inet_aton(target)
        pseudo = ends + struct.pack(">HH", socket.IPPROTO_TCP, _SEGMENT.size)
        bare = _SEGMENT.pack(_FROM_PORT, 0, 0, 0, _WORDS, _SYN, _WINDOW, 0, 0)
        constant = sum(struct.unpack(f">{len(pseudo + bare) // 2}H", pseudo + bare))
    for port in PORTS:
        checksum = _checksum(constant + port) if constant else 0
        yield _SEGMENT.pack(_FROM_PORT, port, 0, 0, _WORDS, _SYN, _WINDOW, checksum, 0)


def _checksum(total: int) -> int:
    """Return the complement of a sum of words in one's complement. Source: RFC 1071."""
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
