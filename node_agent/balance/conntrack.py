"""Makes the kernel forget connections to endpoints that are gone, and tells their clients.

Says which endpoints that drain still have some.

A datagram after that goes to an endpoint that is there. Of a TCP connection, nobody would tell a
client that waits for an answer: it is sent a segment that is never in its window, to which every
TCP answers with what it has (RFC 9293, 3.10.7.4); nobody knows that connection any more, so the
table resets it, with the very sequence number that the client expects.
"""

import contextlib
import ipaddress
import socket
import struct
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

import structlog
from pyroute2 import IPRoute

from node_agent.balance import ctnetlink
from node_agent.balance.family import Family
from node_agent.balance.flows import TCP, Draining, Entrance, Flow, Memory, Reach, stale
from node_agent.balance.flows import busy as busy_of
from node_agent.balance.table import MARK
from node_agent.peers.echo import checksum
from shared.errors import HostError
from shared.model import AllocId

_log = structlog.get_logger()

_NETLINK_NETFILTER: Final = 12
_ANSWER_BYTES: Final = 1 << 16
# How long connections are remembered, in this network namespace.
_LIMITS: Final = Path("/proc/sys/net/netfilter")
# The kernel answers from memory: silence for so long is no delay.
_ANSWER_S: Final = 5.0
# So many entrances are asked for one by one, which spares reading the rest; more, all at once.
_ASKED_MAX: Final = 8
_IPV4: Final = struct.Struct(">BBHHHBBH4s4s")
_IPV6: Final = struct.Struct(">IHBB16s16s")
_HOPS: Final = 64
_TCP: Final = struct.Struct(">HHIIBBHHH")
_ACK: Final = 0x10
# A sequence number outside of the window of all but one client in 1,000; and that one answers as
# well, because it never sent what is acknowledged.
_ANYWHERE: Final = 0


def flush(family: Family, reaches: Mapping[Entrance, Reach]) -> int:
    """Forget every connection that came in at one of `reaches` and leads elsewhere than it may.

    Returns how many there were.

    Raises:
        HostError: the kernel refused.
    """
    if not reaches:
        return 0
    try:
        with _opened() as netlink:
            found = stale(_dump(netlink, family, reaches), reaches, _own_addresses(family, reaches))
            for flow in found:
                netlink.send(ctnetlink.forget(flow))
        _tell(family, [flow for flow in found if flow.is_open])
    except (OSError, ctnetlink.MalformedError) as error:
        raise HostError(f"cannot forget connections to endpoints that are gone: {error}") from error
    if found:
        _log.info("connections_forgotten", count=len(found))
    return len(found)


def busy(family: Family, draining: Draining) -> frozenset[AllocId]:
    """Return the draining allocations that open connections lead to on which something happens.

    Raises:
        HostError: the kernel refused.
    """
    try:
        with _opened() as netlink:
            found = _dump(netlink, family, draining)
        return busy_of(found, draining, _own_addresses(family, draining), _memory())
    except (OSError, ValueError) as error:
        raise HostError(f"cannot see connections to endpoints that drain: {error}") from error


def _memory() -> Memory:
    return Memory(
        established_s=int((_LIMITS / "nf_conntrack_tcp_timeout_established").read_text()),
        unacknowledged_s=int((_LIMITS / "nf_conntrack_tcp_timeout_unacknowledged").read_text()),
    )


def _opened() -> socket.socket:
    one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
    one.settimeout(_ANSWER_S)
    one.bind((0, 0))
    return one


def _dump(netlink: socket.socket, family: Family, entrances: Collection[Entrance]) -> list[Flow]:
    is_each = len(entrances) <= _ASKED_MAX and all(map(ctnetlink.is_found, entrances))
    asked: list[Entrance] | list[None] = list(entrances) if is_each else [None]
    found: list[Flow] = []
    for entrance in asked:
        netlink.send(ctnetlink.ask(entrance, family.number))
        is_last = False
        while not is_last:
            flows, is_last = ctnetlink.read(netlink.recv(_ANSWER_BYTES))
            found += flows
    return found


def _own_addresses(family: Family, entrances: Iterable[Entrance]) -> frozenset[str]:
    """Return this node's addresses, those that it has for outside clients now included.

    Only ports are on them: without one of `entrances`, none is asked for.
    """
    if all(entrance.address for entrance in entrances):
        return frozenset()
    with IPRoute() as ip:
        return frozenset(
            str(one.get_attr("IFA_LOCAL") or one.get_attr("IFA_ADDRESS"))
            for one in ip.get_addr(family=family.number)
        )


def _tell(family: Family, flows: Collection[Flow]) -> None:
    if not flows:
        return
    with socket.socket(family.number, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        for flow in flows:
            # A client that is gone, too, needs not be told.
            with contextlib.suppress(OSError):
                raw.sendto(segment(flow), (flow.source, 0))


def segment(flow: Flow) -> bytes:
    """Return a packet from whom the client addressed, which makes it say where it is."""
    source, to = (ipaddress.ip_address(one).packed for one in (flow.to, flow.source))
    fields = (flow.to_port, flow.source_port, _ANYWHERE, _ANYWHERE, _TCP.size // 4 << 4, _ACK, 0)
    # Of IPv6 the same numbers stand in wider fields, which sum up to the same.
    pseudo = source + to + struct.pack(">BBH", 0, TCP, _TCP.size)
    check = checksum(pseudo + _TCP.pack(*fields, 0, 0))
    if ":" in flow.to:
        header = _IPV6.pack(6 << 28, _TCP.size, TCP, _HOPS, source, to)
    else:
        # The kernel fills in length, identification and the header's checksum.
        header = _IPV4.pack(0x45, 0, 0, 0, 0, _HOPS, TCP, 0, source, to)
    return header + _TCP.pack(*fields, check, 0)
