"""The routes, neighbours and addresses that a node should have, and what differs from them.

Pure. `kernel` looks at the kernel and carries it out.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec

from node_agent.network.addresses import mac_of, prefix_of, six_net_of, six_of
from node_agent.network.cluster import Cluster, Site
from shared.subnets import gateway_of

BRIDGE: Final = "hafen0"
VXLAN: Final = "hafen.vx"
# A packet in VXLAN carries that many bytes more: Ethernet, IPv4, UDP and VXLAN headers.
VXLAN_OVERHEAD: Final = 50


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """What a node knows of itself.

    Attributes:
        uplink: the link that has `address`; empty: none has.
        mtu: of the uplink; 0: unknown.
        vxlan_port: 0: other nodes' containers are reached by the nodes' own segment.
        vxlan_offload: checksums of what is wrapped are left as the kernel has it.
    """

    node: str
    address: str
    subnet: str
    pool6: str = ""
    uplink: str = ""
    mtu: int = 0
    vxlan_port: int = 0
    vxlan_offload: bool = True

    @property
    def inner_mtu(self) -> int:
        """Return the MTU of containers' links; 0: unknown."""
        if not self.vxlan_port or not self.mtu:
            return self.mtu
        return self.mtu - VXLAN_OVERHEAD


class Route(msgspec.Struct, frozen=True):
    """Where a network is.

    Attributes:
        device: empty: wherever the kernel finds `via`.
        via: empty: on the link itself.
    """

    device: str = ""
    via: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What should be there, or what is there and ours.

    Attributes:
        routes: by network.
        neighbours: link addresses by device and address.
        forwards: VXLAN's: link address and the node that has it.
        addresses: device and address with length.
    """

    routes: Mapping[str, Route] = {}
    neighbours: Mapping[tuple[str, str], str] = {}
    forwards: frozenset[tuple[str, str]] = frozenset()
    addresses: frozenset[tuple[str, str]] = frozenset()


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be made, and what has to go."""

    make: Plan
    remove: Plan


def plan_of(host: Host, cluster: Cluster, links: Mapping[str, tuple[str, ...]]) -> Plan:
    """Return what a node should have.

    Args:
        host: this node.
        cluster: all others.
        links: this node's containers: the name of the link -> addresses.
    """
    others = {site.name: site for site in cluster.sites if site.name != host.node}
    far = {site.subnet: site for site in others.values()}
    here = {address for addresses in links.values() for address in addresses}
    for member in cluster.members:
        if member.node in others:
            fixed = {each for each in member.addresses[1:] if each not in here}
            far |= {f"{address}/32": others[member.node] for address in fixed}
    routes = {to: _way(host, site) for to, site in far.items()}
    if host.pool6 and (host.uplink or host.vxlan_port):
        routes |= {six_net_of(host.pool6, to): _way6(host, site) for to, site in far.items()}
    if host.pool6 and host.uplink and not host.vxlan_port:
        sites = (six_of(host.pool6, site.address) for site in others.values())
        routes |= {prefix_of(each): Route(host.uplink) for each in sites}
    neighbours = dict(_far_gateways(host, others.values())) if host.vxlan_port else {}
    for name, addresses in links.items():
        mac = mac_of(addresses[0])
        sixes = tuple(six_of(host.pool6, each) for each in addresses) if host.pool6 else ()
        for address in (*addresses, *sixes):
            routes[prefix_of(address)] = Route(name)
            neighbours[name, address] = mac
    return Plan(
        routes=routes,
        neighbours=neighbours,
        forwards=_forwards(host, others.values()),
        addresses=addresses_of(host),
    )


def difference(wanted: Plan, there: Plan, foreign: Mapping[str, str]) -> Difference:
    """Return what leads from `there` to `wanted`; others' routes are left alone.

    Args:
        wanted: what should be.
        there: what is ours.
        foreign: networks that others' routes lead to, and where.
    """
    routes = {
        to: route
        for to, route in wanted.routes.items()
        if to not in foreign and not _is(there.routes.get(to), route)
    }
    return Difference(
        make=Plan(
            routes=routes,
            neighbours=dict(wanted.neighbours.items() - there.neighbours.items()),
            forwards=wanted.forwards - there.forwards,
            addresses=wanted.addresses - there.addresses,
        ),
        remove=Plan(
            routes={to: each for to, each in there.routes.items() if to not in wanted.routes},
            neighbours={
                key: mac for key, mac in there.neighbours.items() if key not in wanted.neighbours
            },
            forwards=there.forwards - wanted.forwards,
        ),
    )


def clashes(host: Host, wanted: Plan, foreign: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence for each route of somebody else that takes what should come to hafen."""
    ours = {to: ipaddress.ip_network(to) for to in wanted.routes}
    ours[host.subnet] = ipaddress.ip_network(host.subnet)
    for to, where in sorted(foreign.items()):
        network = ipaddress.ip_network(to)
        for name, own in sorted(ours.items()):
            if own.version == network.version and network.subnet_of(own):  # type: ignore[arg-type]
                yield (
                    f"the route to {to} {where} is not hafen's and takes traffic for containers in"
                    f" {name}: remove it, or give the cluster another pool"
                )


def _is(there: Route | None, wanted: Route) -> bool:
    if there is None or there.via != wanted.via:
        return False
    return not wanted.device or there.device == wanted.device


def _way(host: Host, site: Site) -> Route:
    if host.vxlan_port:
        return Route(VXLAN, gateway_of(site.subnet))
    return Route(via=site.address)


def _way6(host: Host, site: Site) -> Route:
    """A node's IPv6 address on the segment follows from its IPv4 address, too."""
    if host.vxlan_port:
        return Route(VXLAN, six_of(host.pool6, gateway_of(site.subnet)))
    return Route(host.uplink, six_of(host.pool6, site.address))


def _far_gateways(host: Host, others: Iterable[Site]) -> Iterator[tuple[tuple[str, str], str]]:
    for site in others:
        gateway = gateway_of(site.subnet)
        yield (VXLAN, gateway), mac_of(gateway)
        if host.pool6:
            yield (VXLAN, six_of(host.pool6, gateway)), mac_of(gateway)


def _forwards(host: Host, others: Iterable[Site]) -> frozenset[tuple[str, str]]:
    if not host.vxlan_port:
        return frozenset()
    return frozenset((mac_of(gateway_of(site.subnet)), site.address) for site in others)


def addresses_of(host: Host) -> frozenset[tuple[str, str]]:
    """Return what a node's own devices have."""
    gateway, length = gateway_of(host.subnet), host.subnet.rpartition("/")[2]
    found = {(BRIDGE, f"{gateway}/{length}")}
    if host.pool6:
        found.add((BRIDGE, f"{six_of(host.pool6, gateway)}/{96 + int(length)}"))
        if host.uplink and not host.vxlan_port:
            found.add((host.uplink, f"{six_of(host.pool6, host.address)}/128"))
    return frozenset(found)
