"""What neighbours are told and asked about an address: whole Ethernet frames, made and read.

Pure. IPv4: ARP (RFC 826, 5227). IPv6: neighbour discovery (RFC 4861).
"""

import ipaddress
import struct
from typing import Final

import msgspec

from node_agent.peers.echo import checksum

ETH_ARP: Final = 0x0806
ETH_IPV6: Final = 0x86DD
_BROADCAST: Final = b"\xff" * 6
_NOBODY: Final = bytes(6)
_REQUEST, _REPLY = 1, 2
_ARP: Final = struct.Struct(">HHBBH6s4s6s4s")
_IPV6: Final = struct.Struct(">IHBB16s16s")
_ICMPV6: Final = 58
_NS, _NA = 135, 136
_HOPS: Final = 255
# To all nodes of the segment.
_ALL: Final = ipaddress.IPv6Address("ff02::1").packed
# The flag of an advertisement that what was known before is wrong.
_OVERRIDE: Final = 0x2000_0000
_TARGET_OPTION: Final = 2

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


class Told(msgspec.Struct, frozen=True):
    """A frame that says which card answers an address."""

    address: str
    mac: str


def kind_of(address: str) -> int:
    """Return the type of the frames that are about an address."""
    return ETH_ARP if ipaddress.ip_address(address).version == 4 else ETH_IPV6  # noqa: PLR2004


def announcements(address: str, mac: bytes) -> tuple[bytes, ...]:
    """Return the frames that tell all neighbours that `mac` answers `address` now.

    IPv4: the request and the reply form, since there are machines that heed only one of them.
    """
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return (
            _arp(_REQUEST, mac, ip.packed, _NOBODY, ip.packed),
            _arp(_REPLY, mac, ip.packed, _BROADCAST, ip.packed),
        )
    body = struct.pack(">I", _OVERRIDE) + ip.packed + _option(_TARGET_OPTION, mac)
    return (_icmpv6(_NA, mac, ip.packed, _ALL, body),)


def question(address: str, mac: bytes) -> bytes:
    """Return the frame that asks who answers `address`, and tells nobody anything of us."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv4Address):
        return _arp(_REQUEST, mac, bytes(4), _NOBODY, ip.packed)
    group = ipaddress.IPv6Address("ff02::1:ff00:0").packed[:13] + ip.packed[13:]
    return _icmpv6(_NS, mac, bytes(16), group, struct.pack(">I", 0) + ip.packed)


def told(frame: bytes) -> Told | None:
    """Return what a frame says of who answers what; None: it says nothing of the kind."""
    if len(frame) < 14:  # noqa: PLR2004 - an Ethernet header
        return None
    (kind,) = struct.unpack_from(">H", frame, 12)
    if kind == ETH_ARP and len(frame) >= 14 + _ARP.size:
        *_, sender, ip, _, _ = _ARP.unpack_from(frame, 14)
        return Told(str(ipaddress.IPv4Address(ip)), _readable(sender))
    icmp = 14 + _IPV6.size
    if kind == ETH_IPV6 and len(frame) >= icmp + 24:
        _, _, protocol, hops, _, _ = _IPV6.unpack_from(frame, 14)
        if (protocol, hops, frame[icmp]) == (_ICMPV6, _HOPS, _NA):
            target = ipaddress.IPv6Address(frame[icmp + 8 : icmp + 24])
            return Told(str(target), _readable(frame[6:12]))
    return None


def _readable(mac: bytes) -> str:
    return mac.hex(":")


def _arp(code: int, mac: bytes, sender: bytes, target_mac: bytes, target: bytes) -> bytes:
    body = _ARP.pack(1, 0x0800, 6, 4, code, mac, sender, target_mac, target)
    return _BROADCAST + mac + struct.pack(">H", ETH_ARP) + body


def _option(kind: int, mac: bytes) -> bytes:
    return bytes((kind, 1)) + mac


def _icmpv6(kind: int, mac: bytes, source: bytes, to: bytes, body: bytes) -> bytes:
    blank = struct.pack(">BBH", kind, 0, 0) + body
    pseudo = source + to + struct.pack(">II", len(blank), _ICMPV6)
    message = struct.pack(">BBH", kind, 0, checksum(pseudo + blank)) + body
    header = _IPV6.pack(0x6000_0000, len(message), _ICMPV6, _HOPS, source, to)
    return b"\x33\x33" + to[-4:] + mac + struct.pack(">H", ETH_IPV6) + header + message
