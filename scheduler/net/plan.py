"""What there is to probe -> which probes, from where to where, bounded for any size of cluster.

Pure. Up to PAIRS_ALL_NODES nodes every pair is tried; beyond, each node and its two neighbours in a
ring, and pairs drawn by lot. A pair is always tried both ways: a way that works in one direction
only is seen by comparing them.
"""

import enum
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Final

import msgspec

from scheduler.net.scene import Sample, Scene, Target
from shared.api import Probe, ProbeKind
from shared.model import AllocId, NodeName, NodeSpec, Protocol
from shared.settings import AGENT_PEER_PORT, AGENT_PORT
from shared.subnets import gateway_of
from shared.words import listed

# 12 nodes have 132 ordered pairs, some 1200 probes in all, and each agent about a hundred.
PAIRS_ALL_NODES: Final = 12
# Besides the ring: 200 nodes try some 600 of their 19,900 pairs, and each about six others.
DRAWN_PAIRS_A_NODE: Final = 2
# Of a service with hundreds of ports the first few tell of the gateway as much as all.
PUBLISHED_MAX: Final = 4
VIPS_MAX: Final = 4
DNS_PORT: Final = 53
_BARE_SHOWN_MAX: Final = 5
# Where nobody listens, so that the far kernel says so: where traceroute's begin.
CLOSED_PORT: Final = 33434


class Leg(enum.StrEnum):
    """Which part of the way a probe is about."""

    HOSTS = "hosts"
    HOSTS_MTU = "hosts-mtu"
    HOSTS_TCP = "hosts-tcp"
    HOSTS_UDP = "hosts-udp"
    LINK = "link"  # a container and its own node's bridge
    HOST_TO_CONTAINER = "host-container"
    CONTAINER_TO_HOST = "container-host"
    CONTAINERS = "containers"
    CONTAINERS_MTU = "containers-mtu"
    CONTAINERS_TCP = "containers-tcp"
    CONTAINERS_UDP = "containers-udp"
    DNS = "dns"
    VIP = "vip"
    PUBLISHED = "published"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A probe, and what it is about.

    Attributes:
        node: whose agent sends it.
        target: the node that should answer; for DNS, LINK and VIP `node` itself.
        listener: whose container hears it; empty: the node itself.
        subject: the service or the port that is asked for, for people.
        homes: of a virtual address: where its replicas are.
    """

    leg: Leg
    node: NodeName
    target: NodeName
    probe: Probe
    listener: AllocId = AllocId("")
    subject: str = ""
    homes: frozenset[NodeName] = frozenset()

    @property
    def id(self) -> int:
        """Return the probe's id."""
        return self.probe.id


class NetPlan(msgspec.Struct, frozen=True):
    """What to do; `skipped` says what is not tried and why, one sentence each."""

    scene: Scene
    asked: tuple[Asked, ...]
    skipped: tuple[str, ...] = ()

    def of(self, node: NodeName) -> tuple[Probe, ...]:
        """Return what one agent is to try."""
        return tuple(one.probe for one in self.asked if one.node == node)


# Returns a number from 0 to its argument, not included.
Draw = Callable[[int], int]


def plan(scene: Scene, draw: Draw) -> NetPlan:
    """Return the probes for a cluster.

    Args:
        scene: what there is.
        draw: the lot.
    """
    specs = {spec.name: spec for spec in scene.nodes}
    chosen = pairs(tuple(specs), draw)
    made = _Made(scene)
    for source, target in chosen:
        made.between_hosts(specs[source], specs[target])
        made.between_containers(specs[source], specs[target])
        made.published(specs[source], specs[target])
    for spec in scene.nodes:
        made.on_one(spec)
    return NetPlan(scene, tuple(made.asked), tuple(_skipped(scene, len(chosen))))


def pairs(nodes: Sequence[NodeName], draw: Draw) -> list[tuple[NodeName, NodeName]]:
    """Return which node tries which, each pair both ways, sorted."""
    size = len(nodes)
    if size <= PAIRS_ALL_NODES:
        return [(a, b) for a in nodes for b in nodes if a != b]
    chosen = {(index, (index + 1) % size) for index in range(size)}
    for index in range(size):
        for _ in range(DRAWN_PAIRS_A_NODE):
            chosen.add((index, (index + 1 + draw(size - 1)) % size))
    both = chosen | {(b, a) for a, b in chosen}
    return sorted((nodes[a], nodes[b]) for a, b in both)


def _skipped(scene: Scene, pairs_count: int) -> Iterator[str]:
    size = len(scene.nodes)
    if size > PAIRS_ALL_NODES:
        yield (
            f"{pairs_count // 2} of {size * (size - 1) // 2} pairs of nodes are tried: a ring and "
            f"some by lot, because there are more than {PAIRS_ALL_NODES} nodes"
        )
    bare = [spec.name for spec in scene.nodes if spec.name not in scene.samples]
    if bare:
        few = listed(bare, _BARE_SHOWN_MAX)
        yield f"no container runs on {few}: there only the hosts are tried"
    if not any(sample.networks for sample in scene.samples.values()):
        yield "no sample container names a network: names are not tried"
    if not any(target.vip for target in scene.targets):
        yield "no service has a virtual address: none is tried"


class _Made:
    """Collects probes with ids; thrown away with the plan that it makes."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._ids = scene, count(1)
        self.asked: list[Asked] = []

    def between_hosts(self, a: NodeSpec, b: NodeSpec) -> None:
        self._add(Leg.HOSTS, a, b, ProbeKind.ICMP, b.address)
        self._add(Leg.HOSTS_MTU, a, b, ProbeKind.MTU, b.address)
        self._add(Leg.HOSTS_TCP, a, b, ProbeKind.TCP, b.address, port=AGENT_PORT)
        self._add(Leg.HOSTS_UDP, a, b, ProbeKind.UDP, b.address, port=AGENT_PEER_PORT)

    def between_containers(self, a: NodeSpec, b: NodeSpec) -> None:
        mine, yours = self._scene.samples.get(a.name), self._scene.samples.get(b.name)
        if yours is not None:
            there = yours.address
            self._add(Leg.HOST_TO_CONTAINER, a, b, ProbeKind.ICMP, there, into=yours)
        if mine is not None and mine.has_egress:
            # Of nodes, containers reach published ports and nothing else.
            for _, port in self._entries()[:1]:
                leg, kind = Leg.CONTAINER_TO_HOST, ProbeKind.TCP
                self._add(leg, a, b, kind, b.address, port=port, out_of=mine)
        if mine is None or yours is None or not mine.shares(yours.networks):
            return
        for leg, kind, port in (
            (Leg.CONTAINERS, ProbeKind.ICMP, 0),
            (Leg.CONTAINERS_MTU, ProbeKind.MTU, 0),
            (Leg.CONTAINERS_UDP, ProbeKind.UDP, CLOSED_PORT),
            (Leg.CONTAINERS_TCP, ProbeKind.TCP, yours.tcp_port),
        ):
            if kind is not ProbeKind.TCP or port:
                self._add(leg, a, b, kind, yours.address, port=port, out_of=mine, into=yours)

    def published(self, a: NodeSpec, b: NodeSpec) -> None:
        for name, port in self._entries()[:PUBLISHED_MAX]:
            self._add(
                *(Leg.PUBLISHED, a, b, ProbeKind.TCP, b.address),
                port=port,
                subject=f"port {port} of {name}",
            )

    def _entries(self) -> list[tuple[str, int]]:
        return [
            (target.name, port.published)
            for target in self._scene.targets
            for port in target.ports
            if not port.is_host and port.protocol != Protocol.UDP
        ]

    def on_one(self, spec: NodeSpec) -> None:
        sample = self._scene.samples.get(spec.name)
        if sample is None:
            return
        bridge = gateway_of(spec.subnet)
        self._add(Leg.LINK, spec, spec, ProbeKind.ICMP, bridge, out_of=sample)
        to = sample.address
        self._add(Leg.HOST_TO_CONTAINER, spec, spec, ProbeKind.ICMP, to, into=sample)
        if sample.networks:
            name = f"{sample.service}.{sample.stack}"
            self._add(
                *(Leg.DNS, spec, spec, ProbeKind.DNS, bridge),
                port=DNS_PORT,
                name=name,
                out_of=sample,
                subject=name,
            )
        for target in self._vips(sample)[:VIPS_MAX]:
            tcp = (port.target for port in target.ports if port.protocol != Protocol.UDP)
            self._add(
                *(Leg.VIP, spec, spec, ProbeKind.TCP, target.vip),
                port=next(tcp),
                out_of=sample,
                subject=target.name,
                homes=target.homes,
            )

    def _vips(self, sample: Sample) -> list[Target]:
        return [
            target
            for target in self._scene.targets
            if target.vip
            and any(port.protocol != Protocol.UDP for port in target.ports)
            and sample.shares(target.networks)
        ]

    def _add(  # noqa: PLR0913 - the fields of a probe
        self,
        leg: Leg,
        a: NodeSpec,
        b: NodeSpec,
        kind: ProbeKind,
        address: str,
        *,
        port: int = 0,
        name: str = "",
        out_of: Sample | None = None,
        into: Sample | None = None,
        subject: str = "",
        homes: frozenset[NodeName] = frozenset(),
    ) -> None:
        source = out_of.id if out_of is not None else AllocId("")
        probe = Probe(
            id=next(self._ids), kind=kind, address=address, port=port, name=name, source=source
        )
        self.asked.append(
            Asked(
                leg=leg,
                node=a.name,
                target=b.name,
                probe=probe,
                listener=into.id if into is not None else AllocId(""),
                subject=subject,
                homes=homes,
            )
        )
