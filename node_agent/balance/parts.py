"""What one stack's routes ask of the kernel of one node.

Pure. Found once for each revision of the routes: most stacks do not change when one does.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from node_agent.balance.family import Family
from node_agent.balance.flows import Entrance, Reach
from shared.model import (
    Affinity,
    AllocId,
    Endpoint,
    EndpointState,
    NodeName,
    Protocol,
    PublishedPort,
    Routes,
    ServiceRoutes,
)
from shared.subnets import is_address

# The same on every node: a client that comes by another one stays with its replica.
_SEED: Final = "0x68616665"


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One entrance of one service and where it leads.

    Without a rule it is closed, and what is open already stays open.

    Attributes:
        draining: endpoints that open connections may keep, and whose they are; none of datagrams.
    """

    entrance: Entrance
    chain: str
    rules: tuple[str, ...]
    reach: Reach
    service: str
    draining: tuple[tuple[str, AllocId], ...] = ()
    far: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """Return how a map names it."""
        return self.entrance.address or f"{self.entrance.protocol} . {self.entrance.port}"


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """All that one stack asks for.

    Attributes:
        parts: its entrances.
        hairpin: "A . A" of each of its endpoints on this node.
        problems: what cannot be served anywhere, one sentence each.
    """

    parts: tuple[Part, ...] = ()
    hairpin: frozenset[str] = frozenset()
    problems: tuple[str, ...] = ()


def share(routes: Routes, node: NodeName, family: Family) -> Share:
    """Return what a stack asks of `node` in one family."""
    parts: list[Part] = []
    hairpin: set[str] = set()
    problems: list[str] = []
    for given in routes.services:
        id_ = f"{routes.stack}.{given.service}"
        service, wrong = _in_family(given, id_, family)
        problems += wrong
        there = _There(id_, service, node, family)
        if service.vip:
            parts.append(_virtual(there))
        parts += _published(there)
        own = (one.address for one in service.endpoints if one.node == node)
        hairpin.update(f"{address} . {address}" for address in own)
    return Share(parts=tuple(parts), hairpin=frozenset(hairpin), problems=tuple(problems))


class _There(NamedTuple):
    """A service, with addresses of one family, as a node sees it."""

    id: str
    service: ServiceRoutes
    node: NodeName
    family: Family


def _virtual(there: _There) -> Part:
    service = there.service
    to = [one.address for one in _ready(service)]
    return Part(
        entrance=Entrance(address=service.vip),
        chain=f"vip.{there.id}",
        rules=(_rule(to, there, f"{there.node} {there.id}"),),
        reach=_reach(service.endpoints),
        service=there.id,
        draining=_draining(service),
    )


def _published(there: _There) -> Iterator[Part]:
    """Yield the ports that the kernel carries; the others are the gateway's."""
    service = there.service
    for port in service.ports:
        if port.is_host:
            here = tuple(one for one in service.endpoints if one.node == there.node)
            alone = msgspec.structs.replace(service, endpoints=here)
            part = _port(there._replace(service=alone), port)
            # Where no replica is ready, the host itself refuses: nobody should wait here.
            is_open = any(one.state is EndpointState.READY for one in here)
            yield part if is_open else msgspec.structs.replace(part, rules=())
        elif port.protocol is Protocol.UDP:
            yield _port(there, port)


def _port(there: _There, port: PublishedPort) -> Part:
    service = there.service
    protocol = "udp" if port.protocol is Protocol.UDP else "tcp"
    targets = [(one, one.targets.get(port.published, port.target)) for one in _ready(service)]
    to = [(one.address, target) for one, target in targets]
    chain = f"{protocol}.{port.published}.{there.id}"
    return Part(
        entrance=Entrance(protocol=protocol, port=port.published),
        chain=chain,
        rules=(_rule_of_port(to, there, f"{there.node} {chain}", protocol),),
        reach=_reach(service.endpoints),
        service=there.id,
        draining=_draining(service) if port.protocol is not Protocol.UDP else (),
        far=frozenset(
            f"{one.address} . {protocol} . {target}"
            for one, target in targets
            if one.node != there.node
        ),
    )


def _rule(to: list[str], there: _There, salt: str) -> str:
    """Return the rule that sends a new connection to one of `to`.

    To none, the packet is dropped: a client that is not refused asks again, and finds the first
    endpoint that is ready; no connection is remembered, so none leads nowhere for ever.
    """
    if not to:
        return "drop"
    return f"dnat to {to[0]}" if len(to) == 1 else f"dnat to {_choice(to, there, salt)}"


def _rule_of_port(to: list[tuple[str, int]], there: _There, salt: str, protocol: str) -> str:
    """Return the same for a port of the node, which leads to a port of each endpoint."""
    if not to:
        return "drop"
    head, family = f"meta l4proto {protocol} dnat", there.family
    if len(to) == 1:
        return f"{head} to {family.target(*to[0])}"
    listed = [f"{address} . {port}" for address, port in to]
    return f"{head} {family.keyword} addr . port to {_choice(listed, there, salt)}"


def _choice(to: list[str], there: _There, salt: str) -> str:
    if there.service.affinity is Affinity.ADDRESS:
        choice = f"jhash {there.family.keyword} saddr mod {len(to)} seed {_SEED}"
    else:
        choice = f"numgen inc mod {len(to)}"
        to = _turned(to, salt)
    listed = ", ".join(f"{number} : {one}" for number, one in enumerate(to))
    return f"{choice} map {{ {listed} }}"


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


def _draining(service: ServiceRoutes) -> tuple[tuple[str, AllocId], ...]:
    return tuple(
        (one.address, one.allocation)
        for one in service.endpoints
        if one.state is EndpointState.DRAINING
    )


def _reach(endpoints: Iterable[Endpoint]) -> Reach:
    return Reach(
        listed=frozenset(one.address for one in endpoints),
        served=frozenset(
            one.address for one in endpoints if one.state is not EndpointState.PRESENT
        ),
    )


def _in_family(
    service: ServiceRoutes, id_: str, family: Family
) -> tuple[ServiceRoutes, tuple[str, ...]]:
    """Return it with addresses of `family`, without endpoints that have none, and what is wrong.

    One without an address is on no network of ours. What is wrong is told once, with IPv4.
    """
    wrong = [
        f"address {one.address!r} of {one.allocation} is no IPv4 address"
        for one in service.endpoints
        if one.address and not is_address(one.address)
    ]
    vip = family.of_service(service.vip) if is_address(service.vip) else ""
    if service.vip and not vip:
        wrong.append(f"virtual address {service.vip!r} of {id_} is no IPv4 address")
    endpoints = tuple(_endpoints(service, family))
    found = msgspec.structs.replace(service, endpoints=endpoints, vip=vip)
    return found, () if family.pool6 else tuple(wrong)


def _endpoints(service: ServiceRoutes, family: Family) -> Iterator[Endpoint]:
    for one in service.endpoints:
        address = family.of_container(one.address) if is_address(one.address) else ""
        if address == one.address and address:
            yield one
        elif address:
            yield msgspec.structs.replace(one, address=address)
