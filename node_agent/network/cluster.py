"""What a node's kernel has to know of the cluster, and of the containers that run here.

Pure. `Cluster` is the topology without what only gateways need. It is kept in a file, so that an
agent that starts while etcd is away leaves the kernel as it was.
"""

import functools
import ipaddress
import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Final

import msgspec

from node_agent.network.fabric import Topology
from node_agent.network.parts import Member, Part
from shared.model import AllocId, NodeName, NodeSpec, Record

# What services of an older version are on, which say no network: one of their own, as before.
NAMELESS: Final = ""
# Combinations of networks that were sorted.
_KNOWN_MAX: Final = 1 << 15


class Local(Record, frozen=True, kw_only=True):
    """A container of this node, as its own file has it.

    Attributes:
        address: empty: it has no link, only loopback.
        fixed: those it has besides.
    """

    address: str
    fixed: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()

    @property
    def addresses(self) -> tuple[str, ...]:
        """Return all of them, its own first."""
        return (self.address, *self.fixed) if self.address else ()


class Site(Record, frozen=True):
    """A node: its name, its address, and its containers' network."""

    name: NodeName
    address: str
    subnet: str


class Cluster(Record, frozen=True, kw_only=True):
    """What all nodes should agree on.

    Attributes:
        closed: by network, whether it is internal.
        subnets: where fixed addresses are from.
        tcp, udp: published ports, which containers reach at nodes' addresses.
        vips: virtual addresses of services.
    """

    sites: tuple[Site, ...] = ()
    members: tuple[Member, ...] = ()
    closed: Mapping[str, bool] = {}
    subnets: tuple[str, ...] = ()
    tcp: tuple[int, ...] = ()
    udp: tuple[int, ...] = ()
    vips: tuple[str, ...] = ()


def cluster_of(
    topology: Topology,
    before: Cluster,
    used: Collection[str],
    edge: Collection[int],
    parts: Collection[Part],
) -> Cluster:
    """Return what the kernel needs of `topology`.

    Args:
        topology: all of the cluster.
        before: the last result. A network that nobody makes any more stays as closed as it was
            while containers are on it: they may still be ending.
        used: networks of this node's containers.
        edge: the ports on which gateways take HTTP routes, once there are any.
        parts: of the stacks, see parts.Parts.
    """
    networks = [*(each for part in parts for each in part.networks), *topology.networks]
    closed = {name: before.closed[name] for name in sorted(used) if name in before.closed}
    closed |= {each.name: each.internal for each in networks}
    of_edge = frozenset(edge if any(part.has_routes for part in parts) else ())
    return Cluster(
        sites=tuple(_site(node) for node in topology.nodes),
        members=tuple(itertools.chain.from_iterable(part.members for part in parts)),
        closed=closed,
        subnets=collapsed(each.subnet for each in networks if each.subnet),
        tcp=tuple(sorted(of_edge.union(*(part.tcp for part in parts)))),
        udp=tuple(sorted(frozenset().union(*(part.udp for part in parts)))),
        vips=tuple(sorted(frozenset().union(*(part.vips for part in parts)))),
    )


def collapsed(networks: Iterator[str]) -> tuple[str, ...]:
    """Return networks without those that lie in others, sorted; one that is none is left out."""
    found = {network for text in networks if (network := _parsed(text)) is not None}
    return tuple(str(network) for network in ipaddress.collapse_addresses(found))


def located(cluster: Cluster, locals_: Mapping[AllocId, Local]) -> dict[AllocId, Local]:
    """Return this node's containers with the networks and fixed addresses that the leader says.

    One that it does not list yet keeps what it was attached with. A fixed address that two have,
    because one is still ending, stays with the one that has it.
    """
    listed = {each.allocation: each for each in cluster.members if each.allocation in locals_}
    found: dict[AllocId, Local] = {}
    taken = {address for each in locals_.values() for address in each.addresses}
    for id_, local in sorted(locals_.items()):
        member = listed.get(id_)
        if member is None or local.address not in member.addresses:
            found[id_] = local
            continue
        others = taken - set(local.addresses)
        fixed = tuple(a for a in member.addresses if a != local.address and a not in others)
        found[id_] = Local(address=local.address, fixed=fixed, networks=member.networks)
        taken = (taken - set(local.addresses)) | set(found[id_].addresses)
    return found


def with_awaited(
    cluster: Cluster, node: NodeName, here: Mapping[AllocId, Local]
) -> dict[AllocId, Local]:
    """Return this node's containers and those that the leader says will be.

    Rules that are there before a container are not made while it waits for them.
    """
    taken = {address for each in here.values() for address in each.addresses}
    found = dict(here)
    for member in cluster.members:
        if member.node != node or member.allocation in here:
            continue
        if taken and not taken.isdisjoint(member.addresses):
            continue
        own, *fixed = member.addresses
        found[member.allocation] = Local(address=own, fixed=tuple(fixed), networks=member.networks)
    return found


def _parsed(text: str) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        return None


def _site(node: NodeSpec) -> Site:
    return Site(node.name, node.address, node.subnet)


def networks_of(one: Member | Local) -> tuple[str, ...]:
    """Return what a container is on, sorted."""
    return _sorted(one.networks)


@functools.lru_cache(_KNOWN_MAX)
def _sorted(networks: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(set(networks))) or (NAMELESS,)


def fixed_of(cluster: Cluster) -> tuple[tuple[NodeName, tuple[str, ...]], ...]:
    """Return the fixed addresses that there are, and where: only these need routes of their own."""
    return tuple((each.node, each.addresses) for each in cluster.members if len(each.addresses) > 1)


def is_closed(cluster: Cluster, networks: Collection[str]) -> bool:
    """Say whether containers on exactly these networks have no way out.

    A network that is not known (yet) counts as internal.
    """
    return all(name != NAMELESS and cluster.closed.get(name, True) for name in networks)


def encode(cluster: Cluster) -> bytes:
    """Return the cluster as JSON."""
    return msgspec.json.encode(cluster)


def decode(data: bytes) -> Cluster | None:
    """Return the cluster that was written; None: it is torn, or nobody's."""
    try:
        return msgspec.json.decode(data, type=Cluster)
    except msgspec.DecodeError:
        return None
