"""What the routes of one stack say of the cluster.

Pure. `Parts` remembers what it found for each stack, as most do not change when one does.
"""

from collections.abc import Collection, Iterator, Mapping

import msgspec

from node_agent.network.fabric import Topology
from shared.model import (
    AllocId,
    Endpoint,
    Network,
    NodeName,
    Protocol,
    Record,
    Routes,
    ServiceRoutes,
    StackName,
)
from shared.subnets import is_address


class Member(Record, frozen=True):
    """A container of the cluster, by its allocation.

    Attributes:
        addresses: its own first, then fixed ones.
    """

    allocation: AllocId
    node: NodeName
    addresses: tuple[str, ...]
    networks: tuple[str, ...]


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One stack's part in the cluster.

    Attributes:
        tcp, udp: its published ports.
        has_routes: gateways take HTTP for it.
    """

    members: tuple[Member, ...]
    networks: tuple[Network, ...]
    tcp: frozenset[int]
    udp: frozenset[int]
    vips: frozenset[str]
    has_routes: bool


class Parts:
    """Remembers the parts of all stacks, as long as their routes are the same objects."""

    def __init__(self) -> None:
        self._known: Mapping[StackName, tuple[Routes, Part]] = {}
        self._own: frozenset[str] = frozenset()

    def of(self, topology: Topology) -> tuple[Part, ...]:
        """Return the part of every stack, by its name."""
        own = frozenset(node.address for node in topology.nodes)
        known = self._known if own == self._own else {}
        found: dict[StackName, tuple[Routes, Part]] = {}
        for stack, (_, routes) in sorted(topology.routes.items()):
            had = known.get(stack)
            is_same = had is not None and had[0] is routes
            found[stack] = had if had and is_same else (routes, part_of(routes, own))
        self._known, self._own = found, own
        return tuple(part for _, part in found.values())


def part_of(routes: Routes, own: Collection[str]) -> Part:
    """Return what a stack's routes say; `own` are nodes' addresses, which no container has."""
    ports = [port for service in routes.services for port in service.ports if port.published]
    return Part(
        members=tuple(one for service in routes.services for one in _members(service, own)),
        networks=routes.networks,
        tcp=frozenset(port.published for port in ports if port.protocol is not Protocol.UDP),
        udp=frozenset(port.published for port in ports if port.protocol is Protocol.UDP),
        vips=frozenset(service.vip for service in routes.services if service.vip),
        has_routes=any(service.routes for service in routes.services),
    )


def _members(service: ServiceRoutes, own: Collection[str]) -> Iterator[Member]:
    names = tuple(sorted(joined.network for joined in service.networks))
    for endpoint in service.endpoints:
        addresses = _addresses(endpoint)
        if not addresses or endpoint.address in own:
            continue  # It has no network, or its node's.
        asked = names if endpoint.networks is None else tuple(sorted(endpoint.networks))
        yield Member(endpoint.allocation, endpoint.node, addresses, asked)


def _addresses(endpoint: Endpoint) -> tuple[str, ...]:
    """Return the endpoint's addresses, its own first; what is no address is left out."""
    found = (endpoint.address, *endpoint.addresses)
    return tuple(dict.fromkeys(each for each in found if is_address(each)))
