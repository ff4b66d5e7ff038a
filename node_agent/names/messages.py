"""Bytes of the DNS protocol to what they ask, and what is known to bytes.

Pure. The messages themselves are dnspython's business; which are refused, and how large an answer
may be, is decided here.
"""

import functools
import ipaddress
from collections.abc import Sequence
from typing import Final

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import msgspec

from node_agent.names.meaning import (
    ENDPOINT_TTL_S,
    NEGATIVE_TTL_S,
    Addresses,
    Meaning,
    Nothing,
    Pointer,
)
from node_agent.names.table import ZONE

# What passes every link unfragmented, also inside a tunnel. Source: DNS flag day 2020.
UDP_BYTES_MAX: Final = 1232
UDP_BYTES_MIN: Final = 512
TCP_BYTES_MAX: Final = 65535
_HEADER_BYTES: Final = 12
_ID_BYTES: Final = 2
# Type, class, TTL and length, after a pointer to the name that was asked for.
_RECORD_BYTES: Final = 12
_A_BYTES: Final = 4
_AAAA_BYTES: Final = 16
_OPT_BYTES: Final = 11
# Addresses that are kept ready: as many as a cluster of 200 nodes has containers.
_KNOWN_MAX: Final = 16384
_ZONE_NAME: Final = dns.name.from_text(".".join(ZONE))
# One that is true of nobody: there is nobody to write to, and nothing is transferred.
_SOA: Final = dns.rdata.from_text(
    dns.rdataclass.IN,
    dns.rdatatype.SOA,
    f"{_ZONE_NAME} nobody.invalid. 1 3600 600 86400 {NEGATIVE_TTL_S}",
)
# Whole zones and everything of a name: nobody here has any use for them but to overwhelm.
_REFUSED_TYPES: Final = frozenset(
    {dns.rdatatype.ANY, dns.rdatatype.AXFR, dns.rdatatype.IXFR}
    | {dns.rdatatype.MAILA, dns.rdatatype.MAILB, dns.rdatatype.OPT, dns.rdatatype.TSIG}
)


class Query(msgspec.Struct, frozen=True, eq=False):
    """One question.

    Attributes:
        message: as it came, the case of its letters included.
        labels: of the name in lower case, without the root's.
        bytes_max: how large an answer may be.
    """

    message: dns.message.Message
    labels: tuple[str, ...]
    bytes_max: int

    @property
    def name(self) -> dns.name.Name:
        """Return the name as it was spelt."""
        return self.message.question[0].name

    @property
    def rdtype(self) -> dns.rdatatype.RdataType:
        """Return the type that is asked for."""
        return self.message.question[0].rdtype


def read(wire: bytes, *, tcp: bool = False) -> Query | bytes | None:
    """Return what is asked; or what to answer to what cannot be asked; None: say nothing.

    Total: any bytes will do. Nothing is said to what is no question, so that no two servers ever
    talk to each other for ever.
    """
    if len(wire) < _HEADER_BYTES or wire[2] & 0x80:
        return None
    if _opcode(wire) != dns.opcode.QUERY:
        return _bare(wire, dns.rcode.NOTIMP)
    try:
        message = dns.message.from_wire(wire, ignore_trailing=True)
    except (dns.exception.DNSException, ValueError, OverflowError):
        return _bare(wire, dns.rcode.FORMERR)
    if len(message.question) != 1:
        return _bare(wire, dns.rcode.FORMERR)
    bytes_max = TCP_BYTES_MAX
    if not tcp:
        bytes_max = min(max(message.payload, UDP_BYTES_MIN), UDP_BYTES_MAX)
    return _answerable(Query(message, _labels(message.question[0].name), bytes_max))


def _answerable(query: Query) -> Query | bytes:
    if query.message.edns > 0:
        return failure(query, dns.rcode.BADVERS)
    is_internet = query.message.question[0].rdclass == dns.rdataclass.IN
    if not is_internet or query.rdtype in _REFUSED_TYPES:
        return failure(query, dns.rcode.REFUSED)
    return query


def _opcode(wire: bytes) -> int:
    return wire[2] >> 3 & 0x0F


def _labels(name: dns.name.Name) -> tuple[str, ...]:
    # latin-1 reads every byte; what is not ASCII is in no name of ours.
    return tuple(label.decode("latin-1").lower() for label in name.labels if label)


def _bare(wire: bytes, rcode: dns.rcode.Rcode) -> bytes:
    """Return an answer without the question, which could not be read."""
    message = dns.message.Message(id=int.from_bytes(wire[:_ID_BYTES], "big"))
    message.flags = dns.flags.QR | dns.flags.RA | (dns.flags.RD if wire[2] & 0x01 else 0)
    message.set_opcode(dns.opcode.Opcode(_opcode(wire)))
    message.set_rcode(rcode)
    return message.to_wire()


def failure(query: Query, rcode: dns.rcode.Rcode) -> bytes:
    """Return an answer that is none, such as REFUSED or SERVFAIL."""
    response = response_to(query)
    response.set_rcode(rcode)
    return response.to_wire(max_size=UDP_BYTES_MIN)


def render(query: Query, meaning: Meaning, turn: int = 0) -> bytes:
    """Return the answer to a query whose name means something here.

    What does not fit is cut, record by record, and marked so: who understands that asks again by
    TCP, and who does not has some addresses at least.

    Args:
        query: what was asked.
        meaning: what the name means; not that it is somebody else's.
        turn: which of several addresses comes first.
    """
    response = response_to(query)
    response.flags |= dns.flags.AA
    match meaning:
        case Addresses():
            found, is_cut = _fitting(query, _turned(_of_type(query, meaning.found), turn))
            response.flags |= dns.flags.TC if is_cut else 0
            _put(response, query, meaning.ttl_s, [_address(each) for each in found])
        case Pointer() if query.rdtype == dns.rdatatype.PTR:
            _put(response, query, ENDPOINT_TTL_S, [_pointer(meaning.name)])
        case Nothing(exists=False):
            response.set_rcode(dns.rcode.NXDOMAIN)
        case _:
            pass  # The name exists, and has nothing of that type.
    if not response.answer and not response.flags & dns.flags.TC:
        nothing = dns.rrset.from_rdata(_apex(query), NEGATIVE_TTL_S, _SOA)
        response.authority.append(nothing)
    # Shuffling is dnspython's default; what comes first is decided by `turn`.
    return response.to_wire(max_size=query.bytes_max, want_shuffle=False)


def response_to(query: Query) -> dns.message.Message:
    """Return an empty answer to a query."""
    response = dns.message.make_response(
        query.message, recursion_available=True, our_payload=UDP_BYTES_MAX, pad=0
    )
    if query.message.edns >= 0:
        response.use_edns(0, query.message.ednsflags & dns.flags.DO, UDP_BYTES_MAX)
    return response


def _put(
    response: dns.message.Message, query: Query, ttl_s: int, rdatas: Sequence[dns.rdata.Rdata]
) -> None:
    if rdatas:
        response.answer.append(dns.rrset.from_rdata_list(query.name, ttl_s, rdatas))


def _apex(query: Query) -> dns.name.Name:
    """Return the zone that a negative answer is from: it must be the name's or above it."""
    return _ZONE_NAME if query.labels[-2:] == ZONE else dns.name.root


def _of_type(query: Query, addresses: Sequence[str]) -> Sequence[str]:
    if query.rdtype not in {dns.rdatatype.A, dns.rdatatype.AAAA}:
        return ()
    is_v6 = query.rdtype == dns.rdatatype.AAAA
    return [each for each in addresses if (":" in each) == is_v6]


def _turned(addresses: Sequence[str], turn: int) -> Sequence[str]:
    first = turn % len(addresses) if addresses else 0
    return (*addresses[first:], *addresses[:first])


def _fitting(query: Query, addresses: Sequence[str]) -> tuple[Sequence[str], bool]:
    """Return as many as an answer has room for, and whether that is not all."""
    size = _AAAA_BYTES if query.rdtype == dns.rdatatype.AAAA else _A_BYTES
    used = _HEADER_BYTES + len(query.name.to_wire() or b"") + 4
    used += _OPT_BYTES if query.message.edns >= 0 else 0
    # A name of one byte, the root's, is not pointed to: it is shorter than a pointer.
    fit = (query.bytes_max - used) // (size + _RECORD_BYTES)
    return addresses[:fit], fit < len(addresses)


# Making one is a tenth of an answer's cost, and the same ones are given again and again.
@functools.lru_cache(maxsize=_KNOWN_MAX)
def _address(text: str) -> dns.rdata.Rdata:
    packed = ipaddress.ip_address(text).packed
    rdtype = dns.rdatatype.A if len(packed) == _A_BYTES else dns.rdatatype.AAAA
    return dns.rdata.from_wire(dns.rdataclass.IN, rdtype, packed, 0, len(packed))


def _pointer(name: str) -> dns.rdata.Rdata:
    packed = dns.name.from_text(name).to_wire() or b""
    return dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.PTR, packed, 0, len(packed))
