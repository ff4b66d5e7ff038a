"""What agents say to each other by UDP: one small datagram of fixed size, as bytes and back.

Pure. Whatever else arrives is nothing, never an error: anybody may send anything to an open port.
All datagrams are equally long, so that an answer is never longer than its question: nobody can make
an agent send more than he sent himself.

    bytes   0-2  3        4     5      6-13   14-17         18-81
            hfn  version  kind  flags  nonce  hold in ms    name, filled up with zeros
"""

import enum
import struct
from functools import lru_cache
from typing import Final

import msgspec

from shared.model import NodeName

_LAYOUT: Final = struct.Struct(">3sBBBQI64s")
_MAGIC: Final = b"hfn"
_VERSION: Final = 1
_HAS_SESSION: Final = 1
NAME_BYTES_MAX: Final = 64
DATAGRAM_BYTES: Final = _LAYOUT.size
NONCE_BITS: Final = 64
_HOLD_MS_MAX: Final = 2**32 - 1
# A node hears the same few names for ever; garbage may push them out, and costs no more than that.
_NAMES_KEPT: Final = 256


class Kind(enum.IntEnum):
    """What a datagram is; the last two answer an ASK."""

    PING = 1
    PONG = 2
    ASK = 3
    YES = 4
    NO = 5


class Datagram(msgspec.Struct, frozen=True, gc=False):
    """One datagram.

    Attributes:
        nonce: an answer has that of its question. It is random: who does not see the question
            cannot forge the answer.
        sender: the node that says it.
        has_session: whether the sender has a session in etcd, as far as it knows.
        hold_s: of an ASK: for how long the one who is asked shall claim nothing.
    """

    kind: Kind
    nonce: int
    sender: NodeName
    has_session: bool = False
    hold_s: float = 0.0


def encode(datagram: Datagram) -> bytes:
    """Return the datagram as bytes.

    Raises:
        ValueError: the sender's name has no place in it.
    """
    name = _name_bytes(datagram.sender)
    flags = _HAS_SESSION if datagram.has_session else 0
    hold_ms = min(round(datagram.hold_s * 1000), _HOLD_MS_MAX) if datagram.hold_s else 0
    return _LAYOUT.pack(_MAGIC, _VERSION, datagram.kind, flags, datagram.nonce, hold_ms, name)


def decode(data: bytes) -> Datagram | None:
    """Return what `data` says, or None if it is nothing that an agent of this version says."""
    if len(data) != DATAGRAM_BYTES:
        return None
    magic, version, number, flags, nonce, hold_ms, padded = _LAYOUT.unpack(data)
    kind = _KINDS.get(number)
    if magic != _MAGIC or version != _VERSION or kind is None or flags > _HAS_SESSION:
        return None
    sender = _name(padded)
    if sender is None:
        return None
    return Datagram(kind, nonce, sender, flags == _HAS_SESSION, hold_ms / 1000)


@lru_cache(maxsize=_NAMES_KEPT)
def _name_bytes(sender: NodeName) -> bytes:
    name = sender.encode()
    if not 0 < len(name) <= NAME_BYTES_MAX or b"\0" in name:
        raise ValueError(f"{sender!r} must have 1 to {NAME_BYTES_MAX} bytes, none zero")
    return name


@lru_cache(maxsize=_NAMES_KEPT)
def _name(padded: bytes) -> NodeName | None:
    name = padded.rstrip(b"\0")
    if not name or b"\0" in name:
        return None
    try:
        return NodeName(name.decode())
    except UnicodeDecodeError:
        return None


_KINDS: Final = {int(kind): kind for kind in Kind}
