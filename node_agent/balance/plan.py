"""What the kernel of one node should do with traffic to services: from routes to a table.

Pure.
"""

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from node_agent.balance.flows import Entrance, Reach
from node_agent.balance.table import Found, Table
from shared.model import (
    Affinity,
    Endpoint,
    EndpointState,
    NodeName,
    Protocol,
    PublishedPort,
    Revision,
    Routes,
    ServiceRoutes,
    StackName,
)

AllRoutes = Mapping[StackName, tuple[Revision, Routes]]
# The same on every node: a client that comes by another one stays with its replica.
_SEED: Final = "0x68616665"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What should be.

    Attributes:
        table: what the kernel should have.
        reaches: by entrance, the endpoints that its connections may lead to.
        problems: what cannot be served here, one sentence each.
    """

    table: Table
    reaches: Mapping[Entrance, Reach] = {}
    problems: tuple[str, ...] = ()


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know of the node besides routes.

    Attributes:
        node: its name.
        pool: the network of all containers.
        found: what the kernel has now: whoever has a port or an address keeps it.
        listening: "udp . 53" of each port that some program of the host listens on.
    """

    node: NodeName
    pool: str
    found: Found
    listening: frozenset[str] = frozenset()


class _Part(msgspec.Struct, frozen=True, kw_only=True):
    """One entrance of one service and where it leads.

    Without a rule it is closed, and what is open already stays open.
    """

    entrance: Entrance
    chain: str
    rules: tuple[str, ...]
    reach: Reach
    service: str
    far: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """Return how a map names it."""
        return self.entrance.address or f"{self.entrance.protocol} . {self.entrance.port}"


def plan(routes: AllRoutes, place: Place) -> Plan:
    """Return what the kernel should have so that `routes` are true on this node."""
    parts: list[_Part] = []
    problems: list[str] = []
    for stack, (_, of_stack) in sorted(routes.items()):
        for service in of_stack.services:
            id_, sound = f"{stack}.{service.service}", _sound(service)
            if service.vip and _is_address(service.vip):
                parts.append(_virtual(id_, sound, place.node))
            elif service.vip:
                problems.append(f"virtual address {service.vip!r} of {id_} is no IPv4 address")
            parts += _published(id_, sound, place.node)
            problems += (
                f"address {one.address!r} of {one.allocation} is no IPv4 address"
                for one in service.endpoints
                if one.address and not _is_address(one.address)
            )
    kept, refused = _kept((part for part in parts if part.rules), place)
    closed = [part for part in parts if not part.rules]
    vips = {part.key: part.chain for part in kept if part.entrance.address}
    return Plan(
        table=Table(
            pool=place.pool,
            chains={part.chain: part.rules for part in kept},
            vips=vips,
            leaving=frozenset(place.found.maps.get("vips", {}).keys() - vips.keys()),
            ports={part.key: part.chain for part in kept if not part.entrance.address},
            hairpin=frozenset(_hairpins(routes, place.node)),
            far=frozenset().union(*(part.far for part in kept)),
        ),
        reaches=_reaches((*kept, *closed)),
        problems=(*problems, *refused),
    )


def _virtual(id_: str, service: ServiceRoutes, node: NodeName) -> _Part:
    ready = _ready(service)
    return _Part(
        entrance=Entrance(address=service.vip),
        chain=f"vip.{id_}",
        rules=(_rule([one.address for one in ready], service.affinity, f"{node} {id_}"),),
        reach=_reach(service.endpoints),
        service=id_,
    )


def _published(id_: str, service: ServiceRoutes, node: NodeName) -> Iterator[_Part]:
    """Yield the ports that the kernel carries; the others are the gateway's."""
    for port in service.ports:
        if port.is_host:
            here = tuple(one for one in service.endpoints if one.node == node)
            part = _port(id_, msgspec.structs.replace(service, endpoints=here), port, node)
            # Where no replica is ready, the host itself refuses: nobody should wait here.
            is_open = any(one.state is EndpointState.READY for one in here)
            yield part if is_open else msgspec.structs.replace(part, rules=())
        elif port.protocol is Protocol.UDP:
            yield _port(id_, service, port, node)


def _port(id_: str, service: ServiceRoutes, port: PublishedPort, node: NodeName) -> _Part:
    protocol = "udp" if port.protocol is Protocol.UDP else "tcp"
    ready = _ready(service)
    targets = [(one, one.targets.get(port.published, port.target)) for one in ready]
    to = [f"{one.address} . {target}" for one, target in targets]
    chain = f"{protocol}.{port.published}.{id_}"
    return _Part(
        entrance=Entrance(protocol=protocol, port=port.published),
        chain=chain,
        rules=(_rule(to, service.affinity, f"{node} {chain}", protocol),),
        reach=_reach(service.endpoints),
        service=id_,
        far=frozenset(
            f"{one.address} . {protocol} . {target}" for one, target in targets if one.node != node
        ),
    )


def _rule(to: list[str], affinity: Affinity, salt: str, protocol: str = "") -> str:
    """Return the rule that sends a new connection to one of `to`.

    To none, the packet is dropped: a client that is not refused asks again, and finds the first
    endpoint that is ready; no connection is remembered, so none leads nowhere for ever.
    """
    if not to:
        return "drop"
    head = f"meta l4proto {protocol} " if protocol else ""
    if len(to) == 1:
        return f"{head}dnat to {to[0].replace(' . ', ':')}"
    if affinity is Affinity.ADDRESS:
        choice = f"jhash ip saddr mod {len(to)} seed {_SEED}"
    else:
        choice = f"numgen inc mod {len(to)}"
        to = _turned(to, salt)
    listed = ", ".join(f"{number} : {one}" for number, one in enumerate(to))
    verb = "dnat ip addr . port to" if protocol else "dnat to"
    return f"{head}{verb} {choice} map {{ {listed} }}"


def _turned(to: list[str], salt: str) -> list[str]:
    """Return `to` with another first one on each node, and after each change.

    Counting begins anew whenever a chain is replaced: else the first would get more than the rest.
    """
    digest = hashlib.blake2s(f"{salt} {to}".encode(), digest_size=4).digest()
    first = int.from_bytes(digest, "big") % len(to)
    return to[first:] + to[:first]


def _ready(service: ServiceRoutes) -> list[Endpoint]:
    """Return the endpoints that get what is new, in the order of their slots.

    A replica that takes another's slot gets its clients, and the others keep theirs.
    """
    ready = (one for one in service.endpoints if one.state is EndpointState.READY)
    return sorted(ready, key=lambda one: (one.slot, one.allocation))


def _reach(endpoints: Iterable[Endpoint]) -> Reach:
    return Reach(
        listed=frozenset(one.address for one in endpoints),
        served=frozenset(
            one.address for one in endpoints if one.state is not EndpointState.PRESENT
        ),
    )


def _reaches(parts: Iterable[_Part]) -> Mapping[Entrance, Reach]:
    found: dict[Entrance, Reach] = {}
    for part in parts:
        other = found.get(part.entrance, Reach())
        found[part.entrance] = Reach(
            listed=part.reach.listed | other.listed, served=part.reach.served | other.served
        )
    return found


def _hairpins(routes: AllRoutes, node: NodeName) -> Iterator[str]:
    for _, of_stack in routes.values():
        for service in of_stack.services:
            for one in _sound(service).endpoints:
                if one.node == node:
                    yield f"{one.address} . {one.address}"


def _kept(parts: Iterable[_Part], place: Place) -> tuple[tuple[_Part, ...], tuple[str, ...]]:
    """Return what can be served, and a sentence for each entrance that cannot.

    Of two services that want the same one, the one that has it keeps it, else the first by name.
    """
    maps = place.found.maps
    held = {**maps.get("vips", {}), **maps.get("ports", {})}
    kept: dict[str, _Part] = {}
    problems: list[str] = []
    for part in sorted(parts, key=lambda one: (held.get(one.key) != one.chain, one.chain)):
        what = (
            f"virtual address {part.entrance.address}"
            if part.entrance.address
            else f"port {part.entrance.port}/{part.entrance.protocol}"
        )
        if part.key in kept:
            problems.append(f"{what} of {part.service} belongs to {kept[part.key].service}")
        elif part.key in place.listening and held.get(part.key) != part.chain:
            problems.append(f"{what} of {part.service} is taken by another program on this node")
        else:
            kept[part.key] = part
    return tuple(kept[key] for key in sorted(kept)), tuple(sorted(problems))


def _sound(service: ServiceRoutes) -> ServiceRoutes:
    """Return it without the endpoints that nothing can be sent to."""
    endpoints = tuple(one for one in service.endpoints if _is_address(one.address))
    return msgspec.structs.replace(service, endpoints=endpoints)


def _is_address(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
