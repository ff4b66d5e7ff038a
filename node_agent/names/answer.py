"""From who asks and what came to what to send back, or whom to ask instead.

Pure. This is the whole of the server but its sockets.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

import dns.rcode
import msgspec

from node_agent.names.meaning import Addresses, Elsewhere, meaning_of
from node_agent.names.messages import Query, failure, read, render
from node_agent.names.table import Asker, Table

# As many as the C library's own resolver asks.
SERVERS_MAX: Final = 3


class Reply(msgspec.Struct, frozen=True):
    """What to send back; None: nothing.

    Attributes:
        kind: which counter it is for.
        is_steady: as long as nothing changes, the same bytes get the same answer.
    """

    wire: bytes | None
    kind: str
    is_steady: bool = False


class Forward(msgspec.Struct, frozen=True, eq=False):
    """Ask the first of `servers` that answers."""

    query: Query
    servers: tuple[str, ...]


def answer(
    table: Table,
    address: str,
    wire: bytes,
    *,
    host: Sequence[str] = (),
    turn: int = 0,
    tcp: bool = False,
) -> Reply | Forward:
    """Return what to do about a message; total: any bytes from anybody will do.

    Args:
        table: what there is.
        address: where the message is from.
        wire: the message.
        host: the node's own servers, for names that mean nothing here.
        turn: which of several addresses comes first.
        tcp: it came by TCP, so its answer has room.
    """
    query = read(wire, tcp=tcp)
    if not isinstance(query, Query):
        return Reply(query, "malformed")
    asker = table.asker(address)
    if asker is None:
        return Reply(failure(query, dns.rcode.REFUSED), "stranger")
    meaning = meaning_of(table, asker, query.labels)
    if not isinstance(meaning, Elsewhere):
        is_turning = isinstance(meaning, Addresses) and meaning.rotates
        return Reply(render(query, meaning, turn), "local", is_steady=not is_turning)
    # What the node's own resolver asks us we would ask it, for ever.
    servers = () if asker.is_host else servers_of(table, asker, host)
    if servers:
        return Forward(query, servers)
    if asker.is_host or asker.is_shut or asker.dns:
        return Reply(failure(query, dns.rcode.REFUSED), "refused")
    return Reply(failure(query, dns.rcode.SERVFAIL), "unreachable")


def servers_of(table: Table, asker: Asker, host: Sequence[str]) -> tuple[str, ...]:
    """Return whom to ask for a container: its own servers, else the node's.

    A container gets no further through us than by itself: not to the node's own loopback, not to
    containers with which it shares no network, and nowhere at all from internal networks.
    """
    if asker.dns:
        return tuple(each for each in asker.dns if _may_ask(table, asker, each))[:SERVERS_MAX]
    return () if asker.is_shut else tuple(host)


def _may_ask(table: Table, asker: Asker, server: str) -> bool:
    try:
        address = ipaddress.ip_address(server)
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return False
    known = str(address) if str(address) in table.replicas else table.four_of(str(address))
    if not table.is_private(known):
        return not asker.is_shut
    if known not in table.replicas:
        service = table.virtual.get(known)
        return service is not None and asker.sees(service.networks)
    service, endpoint = table.replicas[known]
    return asker.sees(service.networks_of(endpoint))


def host_servers(resolv_conf: str, own: Iterable[str]) -> tuple[str, ...]:
    """Return the servers that a resolv.conf names, but ourselves.

    Args:
        resolv_conf: the text of the node's file.
        own: addresses of this server: asking them would be asking for ever.
    """
    ours = set(own)
    found: list[str] = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and words[1] not in {*ours, *found}:
            found.append(words[1])
    return tuple(each for each in found if _is_address(each))[:SERVERS_MAX]


def _is_address(text: str) -> bool:
    try:
        return not ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return False
