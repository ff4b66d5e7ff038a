"""Which ports and routes of which services a gateway should serve, and what of them needs a reload.

Pure.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from node_agent.gateway import edge
from node_agent.gateway.config import Place, Served, render_one
from node_agent.gateway.slots import Slot, Table, gone_addresses
from shared.model import Protocol, PublishedPort, Revision, Routes, ServiceRoutes, StackName

AllRoutes = Mapping[StackName, tuple[Revision, Routes]]
# The name under which the frontends of routes are kept; no backend can have it.
EDGE: Final = "edge"
_DIGEST_CHARACTERS: Final = 16


def of_service(stack: StackName, service: ServiceRoutes, table: Table) -> Iterator[Served]:
    """Yield what leads to the replicas of one service."""
    # UDP and what only one node has are the kernel's.
    ports = [
        port for port in service.ports if port.protocol is not Protocol.UDP and not port.is_host
    ]
    shared = {port.target: port for port in reversed(ports) if port.protocol is Protocol.HTTP}
    targets = sorted({route.port for route in service.routes} - shared.keys())
    ports += [
        PublishedPort(published=0, target=target, protocol=Protocol.HTTP) for target in targets
    ]
    for port in ports:
        is_first = port.published == 0 or shared.get(port.target) == port
        yield Served(
            stack=stack,
            service=service.service,
            port=port,
            table=table,
            traffic=service.traffic,
            affinity=service.affinity,
            routes=tuple(
                route for route in service.routes if is_first and route.port == port.target
            ),
        )


def unrouted(all_: Iterable[Served]) -> tuple[Served, ...]:
    """Return what is left where no route can be served."""
    return tuple(msgspec.structs.replace(each, routes=()) for each in all_ if each.port.published)


def shapes(all_: Iterable[Served], place: Place) -> dict[str, str]:
    """Return, per backend and for the edge, what only a reload can change.

    The last word of a backend's is its number of slots, the first its protocol.
    """
    kept = tuple(all_)
    return {each.backend: shape(each, place) for each in kept} | shape_of_edge(kept, place)


def shape_of_edge(all_: Sequence[Served], place: Place) -> dict[str, str]:
    """Return the same of the frontends of routes; empty: there are none."""
    text = edge.render(all_, place)
    return {EDGE: f"{EDGE} {place.http_port} {place.https_port} {_digest(text)}"} if text else {}


def shape(each: Served, place: Place) -> str:
    """Return what of one backend only a reload can change."""
    bare = msgspec.structs.replace(each, table=Table(slots=(Slot(number=1),)))
    # A stack's part in the frontends of routes is known by this, too.
    headers = edge.headers([each])
    text = f"{render_one(bare, place)} {headers}"
    return f"{each.port.protocol} {_digest(text)} {len(each.table.slots)}"


def slots_in(shape: str) -> int:
    """Return how many slots a backend of this shape has."""
    return int(shape.rpartition(" ")[2])


def ports_open(were_open: Mapping[str, str]) -> frozenset[int]:
    """Return the node's ports that HAProxy listens on already."""
    last = {backend.rpartition(".")[2] for backend in were_open}
    edges = were_open.get(EDGE, "").split(" ")[1:3]
    return frozenset(int(word) for word in (*last, *edges) if word.isdecimal())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARACTERS]


def gone(before: Mapping[str, Table], after: Mapping[str, Table]) -> tuple[str, ...]:
    """Return the addresses at which nobody is any more."""
    found = {
        address
        for key, table in before.items()
        if table is not after.get(key)
        for address in gone_addresses(table, after.get(key, Table()))
    }
    return tuple(sorted(found))


def with_tables(old: Iterable[Served], slots: Mapping[str, Table]) -> tuple[Served, ...]:
    """Return what was served before, with the slots of now; what has none any more is left out."""
    return tuple(
        msgspec.structs.replace(each, table=slots[each.service_id])
        for each in old
        if each.service_id in slots
    )
