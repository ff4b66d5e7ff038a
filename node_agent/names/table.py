"""Who may ask, and what there is to be asked about: a snapshot, arranged for look-ups.

Pure. A table is never changed: a new snapshot makes a new one.
"""

import ipaddress
from collections.abc import Collection, Iterable, Mapping
from typing import Final

import msgspec

from node_agent.each import OfEach
from node_agent.names.snapshot import Local, Snapshot
from node_agent.network.addresses import six_in, six_of
from shared.model import Endpoint, EndpointState, Routes, ServiceName, ServiceRoutes, StackName
from shared.subnets import Pools

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


Replica = tuple[Service, Endpoint]


class _Stack(msgspec.Struct, frozen=True, kw_only=True):
    """What one stack has a part of a table for, as in Table."""

    services: tuple[Service, ...]
    aliases: tuple[tuple[str, tuple[str, Service]], ...]
    virtual: Mapping[str, Service]
    replicas: Mapping[str, Replica]
    internal: frozenset[str]
    subnets: frozenset[str]


def _stack(routes: Routes) -> _Stack:
    services = tuple(
        Service(routes.stack, each, frozenset(joined.network for joined in each.networks))
        for each in routes.services
    )
    replicas: dict[str, Replica] = {}
    for service in services:
        for endpoint in service.routes.endpoints:
            addresses = (endpoint.address, *endpoint.addresses)
            _join(replicas, ((address, (service, endpoint)) for address in addresses))
    return _Stack(
        services=services,
        aliases=tuple(
            (alias.lower().rstrip("."), (joined.network, service))
            for service in services
            for joined in service.routes.networks
            for alias in joined.aliases
        ),
        virtual={service.routes.vip: service for service in services if service.routes.vip},
        replicas=replicas,
        internal=frozenset(network.name for network in routes.networks if network.internal),
        subnets=frozenset(network.subnet for network in routes.networks),
    )


def _join(replicas: dict[str, Replica], more: Iterable[tuple[str, Replica]]) -> None:
    """Add replicas; where one takes requests already, it stays."""
    for address, one in more:
        known = replicas.get(address)
        if known is None or known[1].state is EndpointState.DRAINING:
            replicas[address] = one


class Kept:
    """What tables are made of, found once for as long as it is the same objects."""

    def __init__(self) -> None:
        self.stacks = OfEach(_stack)
        self._askers: tuple[tuple[Local, ...], frozenset[str], Mapping[str, Asker]] | None = None

    def askers(self, locals_: tuple[Local, ...], internal: frozenset[str]) -> Mapping[str, Asker]:
        """Return this node's own containers: it knows them better than the routes may yet."""
        had = self._askers
        if had is not None and had[0] is locals_ and had[1] == internal:
            return had[2]
        found = {
            address: _asker(each.stack, frozenset(each.networks), each.dns, internal)
            for each in locals_
            for address in each.addresses
        }
        self._askers = (locals_, internal, found)
        return found


def _asker(
    stack: StackName, networks: frozenset[str], dns: tuple[str, ...], internal: frozenset[str]
) -> Asker:
    is_shut = bool(networks) and networks <= internal
    return Asker(stack, networks, dns, is_shut=is_shut)


class Table:
    """A snapshot, arranged.

    Attributes:
        named: service name -> those of all stacks, by stack.
        of_stack: (stack, service) -> it.
        aliases: alias -> the networks on which services have it, and those services.
        virtual: virtual address -> its service.
        replicas: address -> whose, and which replica; what takes requests first.
    """

    def __init__(self, snapshot: Snapshot, own: str = "", kept: Kept | None = None) -> None:
        """Arrange `snapshot` for a server with the address `own`.

        Args:
            snapshot: what there is.
            own: empty: nobody has it.
            kept: what the table before was made of.
        """
        self._own, kept = own, kept or Kept()
        self.named: dict[str, list[Service]] = {}
        self.of_stack: dict[tuple[str, str], Service] = {}
        self.aliases: dict[str, list[tuple[str, Service]]] = {}
        self.virtual: dict[str, Service] = {}
        self.replicas: dict[str, Replica] = {}
        stacks = kept.stacks.of(snapshot.routes)
        for each in stacks:
            self._add(each)
        self._internal = NO_NETWORKS.union(*(each.internal for each in stacks))
        self._askers = kept.askers(snapshot.containers, self._internal)
        subnets = {snapshot.pool, snapshot.vips, snapshot.pool6}.union(
            *(each.subnets for each in stacks)
        )
        self._private = tuple(
            ipaddress.ip_network(subnet, strict=False) for subnet in sorted(subnets) if subnet
        )
        self._pools = Pools(pool=snapshot.pool, pool6=snapshot.pool6)
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
        return _asker(service.stack, service.networks_of(endpoint), (), self._internal)

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

    def six_of(self, address: str) -> str:
        """Return the IPv6 address that a container has beside its IPv4 one; empty: none."""
        has_one = self._pool6 is not None and bool(address)
        return six_in(self._pools.pool6, self._pools.pool, address) if has_one else ""

    def vip_with_six(self, vip: str) -> tuple[str, ...]:
        """Return a virtual address, and the IPv6 one of the same service, if there is one."""
        return (vip, six_of(self._pools.pool6, vip)) if self._pool6 else (vip,)

    def _add(self, stack: _Stack) -> None:
        for service in stack.services:
            self.named.setdefault(service.name, []).append(service)
            self.of_stack[service.stack, service.name] = service
        for name, known in stack.aliases:
            self.aliases.setdefault(name, []).append(known)
        self.virtual |= stack.virtual
        if self.replicas.keys().isdisjoint(stack.replicas):
            self.replicas |= stack.replicas
        else:
            _join(self.replicas, stack.replicas.items())
