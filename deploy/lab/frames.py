"""Websocket frames and the handshake's answer, for both ends of the lab's echo.

Pure. RFC 6455, chapters 1.3 and 5: whole messages only, no extensions, at most PAYLOAD_BYTES_MAX.
"""

import base64
import enum
import hashlib
import struct
from typing import Final, NamedTuple

# The RFC's own constant: a server that answers with it has understood the request.
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
# An echo has some ten bytes; more is a stranger.
PAYLOAD_BYTES_MAX: Final = 64 * 1024
GOING_AWAY: Final = 1001
_HEAD_BYTES_MIN: Final = 2
_FINAL: Final = 0x80
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_SIZE_16_BIT: Final = 126
_SIZE_64_BIT: Final = 127


class FrameError(ValueError):
    """The peer does not speak RFC 6455, or more of it than this does; the connection is useless."""


class Opcode(enum.IntEnum):
    """What a frame is."""

    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class Frame(NamedTuple):
    """One whole message, unmasked."""

    opcode: Opcode
    payload: bytes
    is_masked: bool


def accept_of(key: str) -> str:
    """Return what a server answers to the request's Sec-WebSocket-Key."""
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def encode(opcode: Opcode, payload: bytes, mask: bytes = b"") -> bytes:
    """Return a frame; a client must give a mask of four bytes, a server none."""
    first, flag = _FINAL | opcode, _MASKED if mask else 0
    size = len(payload)
    if size < _SIZE_16_BIT:
        head = struct.pack("!BB", first, flag | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, flag | _SIZE_16_BIT, size)
    else:
        head = struct.pack("!BBQ", first, flag | _SIZE_64_BIT, size)
    return head + mask + (_masked(payload, mask) if mask else payload)


def closing(code: int, mask: bytes = b"") -> bytes:
    """Return the frame that ends a connection."""
    return encode(Opcode.CLOSE, struct.pack("!H", code), mask)


def close_code(payload: bytes) -> int:
    """Return why a CLOSE frame was sent; 1005, the RFC's "none", when it does not say."""
    return int(struct.unpack("!H", payload[:2])[0]) if len(payload) > 1 else 1005


def take(buffer: bytearray) -> Frame | None:
    """Take the first frame from `buffer`; None: it is not whole yet.

    Raises:
        FrameError: it is no frame, or one that nobody here sends.
    """
    if len(buffer) < _HEAD_BYTES_MIN:
        return None
    opcode, is_masked = _kind(buffer[0]), bool(buffer[1] & _MASKED)
    size = buffer[1] & 0x7F
    begin = {_SIZE_16_BIT: 4, _SIZE_64_BIT: 10}.get(size, _HEAD_BYTES_MIN)
    if len(buffer) < begin:
        return None
    if begin > _HEAD_BYTES_MIN:
        size = int.from_bytes(buffer[_HEAD_BYTES_MIN:begin])
    if size > PAYLOAD_BYTES_MAX:
        raise FrameError(f"a frame of {size} bytes, at most {PAYLOAD_BYTES_MAX} are taken")
    data = begin + 4 * is_masked
    if len(buffer) < data + size:
        return None
    payload = bytes(buffer[data : data + size])
    if is_masked:
        payload = _masked(payload, bytes(buffer[begin:data]))
    del buffer[: data + size]
    return Frame(opcode, payload, is_masked)


def _kind(first: int) -> Opcode:
    """Return what a frame's first byte says that it is.

    Raises:
        FrameError: a part of a message, an extension, or nothing that the RFC knows.
    """
    if not first & _FINAL or first & _RESERVED:
        raise FrameError("a part of a message, or an extension")
    try:
        return Opcode(first & 0x0F)
    except ValueError as error:
        raise FrameError(f"no such kind of frame: {first & 0x0F}") from error


def _masked(payload: bytes, mask: bytes) -> bytes:
    """Mask or unmask: the same thing. As numbers, since byte by byte is slow."""
    size = len(payload)
    repeated = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(payload) ^ int.from_bytes(repeated)).to_bytes(size)
