"""What one stack's routes ask of the kernel of one node.

Pure. Found once for each revision of the routes: most stacks do not change when one does.
"""

import hashlib
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

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


def share(routes: Routes, node: NodeName) -> Share:
    """Return what a stack asks of `node`."""
    parts: list[Part] = []
    hairpin: set[str] = set()
    problems: list[str] = []
    for given in routes.services:
        id_ = f"{routes.stack}.{given.service}"
        service, bad = _sound(given)
        problems += (
            f"address {one.address!r} of {one.allocation} is no IPv4 address" for one in bad
        )
        if service.vip and is_address(service.vip):
            parts.append(_virtual(id_, service, node))
        elif service.vip:
            problems.append(f"virtual address {service.vip!r} of {id_} is no IPv4 address")
        parts += _published(id_, service, node)
        own = (one.address for one in service.endpoints if one.node == node)
        hairpin.update(f"{address} . {address}" for address in own)
    return Share(parts=tuple(parts), hairpin=frozenset(hairpin), problems=tuple(problems))


def _virtual(id_: str, service: ServiceRoutes, node: NodeName) -> Part:
    ready = _ready(service)
    return Part(
        entrance=Entrance(address=service.vip),
        chain=f"vip.{id_}",
        rules=(_rule([one.address for one in ready], service.affinity, f"{node} {id_}"),),
        reach=_reach(service.endpoints),
        service=id_,
        draining=_draining(service),
    )


def _published(id_: str, service: ServiceRoutes, node: NodeName) -> Iterator[Part]:
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


def _port(id_: str, service: ServiceRoutes, port: PublishedPort, node: NodeName) -> Part:
    protocol = "udp" if port.protocol is Protocol.UDP else "tcp"
    ready = _ready(service)
    targets = [(one, one.targets.get(port.published, port.target)) for one in ready]
    to = [f"{one.address} . {target}" for one, target in targets]
    chain = f"{protocol}.{port.published}.{id_}"
    return Part(
        entrance=Entrance(protocol=protocol, port=port.published),
        chain=chain,
        rules=(_rule(to, service.affinity, f"{node} {chain}", protocol),),
        reach=_reach(service.endpoints),
        service=id_,
        draining=_draining(service) if port.protocol is not Protocol.UDP else (),
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


def _sound(service: ServiceRoutes) -> tuple[ServiceRoutes, tuple[Endpoint, ...]]:
    """Return it without the endpoints that nothing can be sent to, and those with a wrong address.

    One without an address is on no network of ours.
    """
    endpoints = tuple(one for one in service.endpoints if is_address(one.address))
    bad = tuple(one for one in service.endpoints if one.address and one not in endpoints)
    return msgspec.structs.replace(service, endpoints=endpoints), bad
