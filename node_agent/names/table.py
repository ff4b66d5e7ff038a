"""Who may ask, and what there is to be asked about: a snapshot, arranged for look-ups.

Pure. A table is never changed: a new snapshot makes a new one.
"""

import ipaddress
from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from node_agent.names.snapshot import Snapshot
from shared.model import Endpoint, EndpointState, Routes, ServiceName, ServiceRoutes, StackName

# Its last two labels; private use of .internal is reserved, so no public name is ever hidden.
ZONE: Final = ("hafen", "internal")
# The bits of an IPv6 address that are an IPv4 one.
_FOUR: Final = 2**32 - 1
NO_NETWORKS: Final[frozenset[str]] = frozenset()


class Asker(msgspec.Struct, frozen=True):
    """Who asks.

    Attributes:
        stack: whose services it means by their names alone.
        networks: those it is on.
        dns: servers that it wants to be asked in place of the node's.
        is_shut: it is on internal networks only, from which no question may leave.
        is_host: it is a program of the node itself, for which nothing is hidden.
    """

    stack: StackName = StackName("")
    networks: frozenset[str] = NO_NETWORKS
    dns: tuple[str, ...] = ()
    is_shut: bool = False
    is_host: bool = False

    def sees(self, networks: Collection[str]) -> bool:
        """Say whether it shares one of `networks`."""
        return self.is_host or not self.networks.isdisjoint(networks)


class Service(msgspec.Struct, frozen=True, eq=False):
    """A service of a stack, and the networks it is on."""

    stack: StackName
    routes: ServiceRoutes
    networks: frozenset[str]

    @property
    def name(self) -> ServiceName:
        """Return its name in its stack."""
        return self.routes.service

    def networks_of(self, endpoint: Endpoint) -> frozenset[str]:
        """Return those that one replica is on."""
        return self.networks if endpoint.networks is None else frozenset(endpoint.networks)


HOST: Final = Asker(is_host=True)


class Table:
    """A snapshot, arranged.

    Attributes:
        named: service name -> those of all stacks, by stack.
        of_stack: (stack, service) -> it.
        aliases: alias -> the networks on which services have it, and those services.
        virtual: virtual address -> its service.
        replicas: address -> whose, and which replica; what takes requests first.
    """

    def __init__(self, snapshot: Snapshot, own: str = "") -> None:
        """Arrange `snapshot` for a server with the address `own`."""
        self._own = own
        self.named: dict[str, list[Service]] = {}
        self.of_stack: dict[tuple[str, str], Service] = {}
        self.aliases: dict[str, list[tuple[str, Service]]] = {}
        self.virtual: dict[str, Service] = {}
        self.replicas: dict[str, tuple[Service, Endpoint]] = {}
        for routes in snapshot.routes:
            for each in routes.services:
                self._add(routes.stack, each)
        self._internal = _internal(snapshot.routes)
        self._askers = self._locals(snapshot)
        self._private = _private(snapshot)
        self._pool6 = ipaddress.IPv6Network(snapshot.pool6) if snapshot.pool6 else None

    def asker(self, address: str) -> Asker | None:
        """Return who has `address`; None: no container that anybody knows, and not this node."""
        found = self._askers.get(address)
        if found is not None:
            return found
        if address == self._own or ipaddress.ip_address(address).is_loopback:
            return HOST
        if address not in self.replicas:
            return None
        service, endpoint = self.replicas[address]
        return self._asker(service.stack, service.networks_of(endpoint), ())

    def is_private(self, address: str) -> bool:
        """Say whether `address` is one of the cluster's, about which nobody else is asked."""
        known = address in self.replicas or address in self.virtual
        return known or any(ipaddress.ip_address(address) in each for each in self._private)

    def four_of(self, address: str) -> str:
        """Return the IPv4 address that one of the cluster's IPv6 ends with, or itself."""
        parsed = ipaddress.ip_address(address)
        if self._pool6 is None or parsed not in self._pool6:
            return address
        return str(ipaddress.IPv4Address(int(parsed) & _FOUR))

    def _add(self, stack: StackName, routes: ServiceRoutes) -> None:
        networks = frozenset(joined.network for joined in routes.networks)
        service = Service(stack, routes, networks)
        self.named.setdefault(routes.service, []).append(service)
        self.of_stack[stack, routes.service] = service
        for joined in routes.networks:
            for alias in joined.aliases:
                name = alias.lower().rstrip(".")
                self.aliases.setdefault(name, []).append((joined.network, service))
        if routes.vip:
            self.virtual[routes.vip] = service
        for endpoint in routes.endpoints:
            for address in (endpoint.address, *endpoint.addresses):
                known = self.replicas.get(address)
                if known is None or known[1].state is EndpointState.DRAINING:
                    self.replicas[address] = (service, endpoint)

    def _locals(self, snapshot: Snapshot) -> Mapping[str, Asker]:
        """Return this node's own containers: it knows them better than the routes may yet."""
        return {
            address: self._asker(each.stack, frozenset(each.networks), each.dns)
            for each in snapshot.containers
            for address in each.addresses
        }

    def _asker(self, stack: StackName, networks: frozenset[str], dns: tuple[str, ...]) -> Asker:
        is_shut = bool(networks) and networks <= self._internal
        return Asker(stack, networks, dns, is_shut=is_shut)


def _internal(routes: tuple[Routes, ...]) -> frozenset[str]:
    return frozenset(
        network.name for each in routes for network in each.networks if network.internal
    )


def _private(snapshot: Snapshot) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    subnets = {network.subnet for each in snapshot.routes for network in each.networks}
    return tuple(
        ipaddress.ip_network(subnet, strict=False)
        for subnet in sorted(subnets | {snapshot.pool, snapshot.vips, snapshot.pool6})
        if subnet
    )
