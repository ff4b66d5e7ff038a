"""Echo requests and replies as bytes.

Pure.
"""

import struct
from typing import Final

HEADER: Final = struct.Struct(">BBHHH")  # type, code, checksum, id, sequence number
ECHO_REPLY: Final = 0
ECHO_REQUEST: Final = 8


def request(id_: int, number: int, payload: bytes) -> bytes:
    """Return an echo request; the kernel puts the IP header before it."""
    blank = HEADER.pack(ECHO_REQUEST, 0, 0, id_, number)
    return HEADER.pack(ECHO_REQUEST, 0, checksum(blank + payload), id_, number) + payload


def reply(id_: int, packet: bytes) -> bytes | None:
    """Return what an echo reply to `id_` brought back, IP header and all taken off; or None."""
    start = (packet[0] & 0xF) * 4 if packet else 0
    if len(packet) < start + HEADER.size:
        return None
    kind, _, _, found, _ = HEADER.unpack_from(packet, start)
    return packet[start + HEADER.size :] if (kind, found) == (ECHO_REPLY, id_) else None


def checksum(data: bytes) -> int:
    """Return the ones' complement of the ones' complement sum of all 16-bit words (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
