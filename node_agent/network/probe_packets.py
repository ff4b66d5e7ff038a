"""The packets of network probes: what is sent, and what an arriving one says.

Pure. A payload begins with a mark, the run and the probe's id, so that whoever hears it knows what
it heard. The mark has a fixed place, so that the kernel can drop everything else unseen.
"""

import enum
import struct
from typing import Final

import msgspec

from node_agent.peers.echo import ECHO_REPLY, ECHO_REQUEST, HEADER, request

MARK: Final = 0x68666E70
_PAYLOAD: Final = struct.Struct(">IQI")  # mark, run, id
IP_BYTES: Final = 20  # without options: our own packets have none, and others are not ours
ICMP_BYTES: Final = 8
# Where the mark is in an echo or a UDP packet, and in a packet that an ICMP error quotes.
MARK_AT: Final = IP_BYTES + ICMP_BYTES
QUOTED_MARK_AT: Final = MARK_AT + IP_BYTES + ICMP_BYTES
SMALLEST_BYTES: Final = IP_BYTES + ICMP_BYTES + _PAYLOAD.size
_UNREACHABLE: Final = 3
_FRAGMENTATION_NEEDED: Final = 4
# What a router says with an ICMP error of type 3, by its code (RFC 792, RFC 1812).
_WORDS: Final = {
    0: "the network is unreachable",
    1: "the host is unreachable",
    3: "the port is closed",
    9: "the network is prohibited",
    10: "the host is prohibited",
    13: "a filter prohibits it",
}
_PORT_CLOSED: Final = 3
_DNS: Final = struct.Struct(">HHHHHH")
_RECURSION_DESIRED: Final = 0x0100
_IS_RESPONSE: Final = 0x8000
_TYPE_A, _CLASS_IN = 1, 1
_LABEL_BYTES_MAX: Final = 63
_RCODES: Final = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}


class Heard(enum.Enum):
    """What kind of packet of ours has arrived."""

    PROBE = "probe"  # somebody's probe reached this namespace
    REPLY = "reply"  # ours came back
    CLOSED = "closed"  # the far end has no such port: it is reached
    TOO_LARGE = "too large"  # a router says how large it may be
    UNREACHABLE = "unreachable"  # a router says that there is no way


class Arrival(msgspec.Struct, frozen=True):
    """A packet that belongs to a run.

    Attributes:
        size: of the IP packet, in bytes; of an error, of what it quotes.
        mtu: what the router can pass on, in bytes; only for TOO_LARGE.
        why: what the router says.
    """

    kind: Heard
    run: int
    id: int
    size: int
    mtu: int = 0
    why: str = ""


def payload(run: int, id_: int, packet_bytes: int = 0) -> bytes:
    """Return what is carried so that the IP packet has at least `packet_bytes`."""
    return _PAYLOAD.pack(MARK, run, id_).ljust(max(packet_bytes - MARK_AT, 0), b"\0")


def echo_request(run: int, id_: int, number: int, packet_bytes: int = 0) -> bytes:
    """Return an echo request, to be sent by a raw socket: the kernel adds the IP header."""
    return request(run & 0xFFFF, number, payload(run, id_, packet_bytes))


def arrival(packet: bytes) -> Arrival | None:
    """Return what an ICMP or UDP packet, IP header and all, says; None: nothing of ours."""
    if len(packet) < SMALLEST_BYTES or packet[0] != 0x45:  # noqa: PLR2004 - IPv4, no options
        return None
    protocol, size = packet[9], int.from_bytes(packet[2:4], "big")
    if protocol == 17:  # noqa: PLR2004 - UDP
        return _marked(packet, MARK_AT, Heard.PROBE, size)
    kind, code, _, _, mtu = HEADER.unpack_from(packet, IP_BYTES)
    if kind in {ECHO_REQUEST, ECHO_REPLY}:
        heard = Heard.PROBE if kind == ECHO_REQUEST else Heard.REPLY
        return _marked(packet, MARK_AT, heard, size)
    if kind != _UNREACHABLE or len(packet) < QUOTED_MARK_AT + _PAYLOAD.size:
        return None
    quoted = int.from_bytes(packet[MARK_AT + 2 : MARK_AT + 4], "big")
    who = ".".join(map(str, packet[12:16]))
    if code == _FRAGMENTATION_NEEDED:
        found = _marked(packet, QUOTED_MARK_AT, Heard.TOO_LARGE, quoted)
        return None if found is None else msgspec.structs.replace(found, mtu=mtu)
    heard = Heard.CLOSED if code == _PORT_CLOSED else Heard.UNREACHABLE
    found = _marked(packet, QUOTED_MARK_AT, heard, quoted)
    why = f"{who} says: {_WORDS.get(code, f'unreachable, code {code}')}"
    return None if found is None else msgspec.structs.replace(found, why=why)


def _marked(packet: bytes, at: int, kind: Heard, size: int) -> Arrival | None:
    mark, run, id_ = _PAYLOAD.unpack_from(packet, at)
    return Arrival(kind, run, id_, size) if mark == MARK else None


def dns_query(id_: int, name: str) -> bytes:
    """Return a query for a name's IPv4 addresses.

    Raises:
        ValueError: no name of the DNS can be so.
    """
    labels = [label.encode("ascii") for label in name.rstrip(".").split(".")]
    if any(not 0 < len(label) <= _LABEL_BYTES_MAX for label in labels):
        raise ValueError(f"{name!r} has a part with more than {_LABEL_BYTES_MAX} bytes, or none")
    question = b"".join(bytes([len(label)]) + label for label in labels) + b"\0"
    header = _DNS.pack(id_, _RECURSION_DESIRED, 1, 0, 0, 0)
    return header + question + struct.pack(">HH", _TYPE_A, _CLASS_IN)


def dns_answer(id_: int, data: bytes) -> str | None:
    """Return the response code of an answer to query `id_`, such as NXDOMAIN; None: it is none."""
    if len(data) < _DNS.size:
        return None
    found, flags, *_ = _DNS.unpack_from(data)
    if found != id_ or not flags & _IS_RESPONSE:
        return None
    code = flags & 0xF
    return _RCODES.get(code, f"code {code}") if code else "NOERROR"
