"""What a node's kernel has to know of the cluster, and of the containers that run here.

Pure. `Cluster` is the topology without what only gateways need. It is kept in a file, so that an
agent that starts while etcd is away leaves the kernel as it was.
"""

import functools
import ipaddress
import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from node_agent.each import OfEach
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
        by_stack: the containers of each stack; the same object as long as its routes are.
        closed: by network, whether it is internal.
        subnets: where fixed addresses are from.
        tcp, udp: published ports, which containers reach at nodes' addresses.
        vips: virtual addresses of services.
    """

    sites: tuple[Site, ...] = ()
    by_stack: tuple[tuple[Member, ...], ...] = ()
    closed: Mapping[str, bool] = {}
    subnets: tuple[str, ...] = ()
    tcp: tuple[int, ...] = ()
    udp: tuple[int, ...] = ()
    vips: tuple[str, ...] = ()

    @property
    def members(self) -> Iterator[Member]:
        """Yield the containers of all stacks."""
        return itertools.chain.from_iterable(self.by_stack)


class _Noted(Record, frozen=True, kw_only=True):
    """A cluster in its file, which knows no stacks."""

    sites: tuple[Site, ...] = ()
    members: tuple[Member, ...] = ()
    closed: Mapping[str, bool] = {}
    subnets: tuple[str, ...] = ()
    tcp: tuple[int, ...] = ()
    udp: tuple[int, ...] = ()
    vips: tuple[str, ...] = ()


class _Written(Record, frozen=True, kw_only=True):
    """The same, the members encoded already."""

    sites: tuple[Site, ...]
    members: msgspec.Raw
    closed: Mapping[str, bool]
    subnets: tuple[str, ...]
    tcp: tuple[int, ...]
    udp: tuple[int, ...]
    vips: tuple[str, ...]


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
        by_stack=tuple(part.members for part in parts if part.members),
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
    taken = Counter(address for each in locals_.values() for address in each.addresses)
    for id_, local in sorted(locals_.items()):
        member, found[id_] = listed.get(id_), local
        if member is None or local.address not in member.addresses:
            continue
        if (member.addresses, member.networks) == (local.addresses, local.networks):
            continue
        own = set(local.addresses)
        fixed = tuple(
            each
            for each in member.addresses
            if each != local.address and (each in own or not taken[each])
        )
        found[id_] = Local(address=local.address, fixed=fixed, networks=member.networks)
        taken.subtract(own)
        taken.update(found[id_].addresses)
    return found


def awaited_of(members: Iterable[Member], node: NodeName) -> tuple[tuple[AllocId, Local], ...]:
    """Return those of a node, as they will be there."""
    return tuple(
        (
            each.allocation,
            Local(address=each.addresses[0], fixed=each.addresses[1:], networks=each.networks),
        )
        for each in members
        if each.node == node
    )


def with_awaited(
    awaited: Iterable[tuple[AllocId, Local]], here: Mapping[AllocId, Local]
) -> dict[AllocId, Local]:
    """Return this node's containers and those that the leader says will be.

    Rules that are there before a container are not made while it waits for them.
    """
    taken = {address for each in here.values() for address in each.addresses}
    return dict(here) | {
        id_: local
        for id_, local in awaited
        if id_ not in here and (not taken or taken.isdisjoint(local.addresses))
    }


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


def fixed_of(members: Iterable[Member]) -> tuple[tuple[NodeName, tuple[str, ...]], ...]:
    """Return the fixed addresses that there are, and where: only these need routes of their own."""
    return tuple((each.node, each.addresses) for each in members if len(each.addresses) > 1)


def is_closed(cluster: Cluster, networks: Collection[str]) -> bool:
    """Say whether containers on exactly these networks have no way out.

    A network that is not known (yet) counts as internal.
    """
    return all(name != NAMELESS and cluster.closed.get(name, True) for name in networks)


class Writer:
    """Encodes clusters for their file; each stack's containers once."""

    def __init__(self) -> None:
        self._pieces = OfEach(msgspec.json.encode)

    def encode(self, cluster: Cluster) -> bytes:
        """Return the cluster as JSON."""
        lists = self._pieces.of(each for each in cluster.by_stack if each)
        members = b",".join(each[1:-1] for each in lists)
        noted = _Written(
            sites=cluster.sites,
            members=msgspec.Raw(b"[" + members + b"]"),
            closed=cluster.closed,
            subnets=cluster.subnets,
            tcp=cluster.tcp,
            udp=cluster.udp,
            vips=cluster.vips,
        )
        return msgspec.json.encode(noted)


def decode(data: bytes) -> Cluster | None:
    """Return the cluster that was written; None: it is torn, or nobody's."""
    try:
        noted = msgspec.json.decode(data, type=_Noted)
    except msgspec.DecodeError:
        return None
    return Cluster(
        sites=noted.sites,
        by_stack=(noted.members,) if noted.members else (),
        closed=noted.closed,
        subnets=noted.subnets,
        tcp=noted.tcp,
        udp=noted.udp,
        vips=noted.vips,
    )
