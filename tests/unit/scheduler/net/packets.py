"""A cluster of packets and planted faults: what each probe would see, hop by hop.

It knows the way of a packet and nothing of how failures are judged.
"""

from collections.abc import Iterator

import msgspec

from scheduler.net.plan import Asked, Leg, NetPlan
from scheduler.net.scene import Sample, Scene, Target
from scheduler.net.seen import Seen
from shared.api import (
    FilterFact,
    KernelFacts,
    ProbeAnswer,
    ProbeKind,
    ProbeResult,
    ProbeState,
    RouteFact,
)
from shared.model import AllocId, NodeName, Protocol, PublishedPort, ServiceName, StackName
from tests.build import node_spec

NOBODY = NodeName("")


class Fault(msgspec.Struct, frozen=True):
    """Something that is broken. `kind` is one of KINDS; `a` and `b` are nodes.

    `is_quiet`: the kernel's facts do not show it, only packets do.
    """

    kind: str
    a: NodeName
    b: NodeName = NOBODY
    is_quiet: bool = False


ONE_NODE = (
    "down",
    "agent",
    "forward",
    "firewall",
    "link",
    "dns",
    "vip",
    "gateway",
    "agent-port",
    "peer-port",
    "process",
    "mtu-node",
    "checksums-node",
)
ONE_WAY = ("path", "route", "rules")
BOTH_WAYS = ("path-both", "mtu", "mtu-containers", "rules-both", "checksums")
TWO_NODES = (*ONE_WAY, *BOTH_WAYS)


class Packets:
    """Says which packets arrive in a cluster with these faults."""

    def __init__(self, scene: Scene, *faults: Fault) -> None:
        self._scene, self._faults = scene, faults

    def has(self, kind: str, a: NodeName, b: NodeName = NOBODY) -> bool:
        return any((one.kind, one.a, one.b) == (kind, a, b) for one in self._faults)

    def path(self, a: NodeName, b: NodeName) -> bool:
        """From one host's kernel to another's."""
        if a == b:
            return True
        pair = min(a, b), max(a, b)
        return not (
            self.has("path", a, b)
            or self.has("path-both", *pair)
            or self.has("down", a)
            or self.has("down", b)
        )

    def route(self, a: NodeName, b: NodeName) -> bool:
        return not self.has("route", a, b)

    def forwards(self, node: NodeName) -> bool:
        return not self.has("forward", node) and not self.has("firewall", node)

    def link(self, node: NodeName) -> bool:
        return not self.has("link", node)

    def arrives(self, a: NodeName, b: NodeName, *, out_of: bool, into: bool) -> bool:
        """From a host or its container to a host or its container."""
        if a == b:
            return self.link(a) or not (out_of or into)
        if out_of and into and (self.has("rules", a, b) or self.has("rules-both", *sorted((a, b)))):
            return False
        outgoing = not out_of or (self.link(a) and self.forwards(a))
        incoming = not into or (self.route(a, b) and self.forwards(b) and self.link(b))
        return outgoing and self.path(a, b) and incoming

    def round_trip(self, one: Asked) -> tuple[bool, bool]:
        """Say whether a probe arrives, and whether its answer comes back."""
        out_of, into = bool(one.probe.source), bool(one.listener)
        if one.leg is Leg.VIP:
            home = min(one.homes)
            there = self.arrives(one.node, home, out_of=True, into=True)
            back = self.arrives(home, one.node, out_of=True, into=True)
            return there, back and not self.has("vip", one.node)
        there = self.arrives(one.node, one.target, out_of=out_of, into=into)
        # What a container sends to a host wears its node's address: the answer needs no route.
        is_masqueraded = out_of and not into and one.node != one.target
        if is_masqueraded:
            back = self.path(one.target, one.node) and self.forwards(one.node)
            back = back and self.link(one.node) and not self.has("egress", one.node)
        else:
            back = self.arrives(one.target, one.node, out_of=into, into=out_of)
        return there, there and back

    def result(self, one: Asked) -> ProbeResult:
        _, answered = self.round_trip(one)
        state = ProbeState.OK if answered and self._serves(one) else ProbeState.LOST
        # A datagram to an agent's port is only heard.
        if one.leg is Leg.HOSTS_UDP:
            state = ProbeState.LOST
        mtu = 0
        if one.probe.kind is ProbeKind.MTU and answered:
            mtu = 1400 if state is ProbeState.LOST else 1500
        return ProbeResult(id=one.id, state=state, mtu=mtu)

    def _serves(self, one: Asked) -> bool:
        pair = min(one.node, one.target), max(one.node, one.target)
        if self._spoils(one):
            return False
        at_target = {
            Leg.HOSTS_TCP: ("agent", "agent-port"),
            Leg.DNS: ("dns",),
            Leg.PUBLISHED: ("gateway",),
            Leg.CONTAINERS_TCP: ("process",),
        }
        if any(self.has(kind, one.target) for kind in at_target.get(one.leg, ())):
            return False
        if one.probe.kind is not ProbeKind.MTU:
            return True
        is_narrow = one.leg is Leg.CONTAINERS_MTU and self.has("mtu-containers", *pair)
        is_narrow = is_narrow or self.has("mtu", *pair)
        return not is_narrow and not any(self.has("mtu-node", node) for node in pair)

    def _spoils(self, one: Asked) -> bool:
        """Say whether a card fills in wrong checksums of what a probe sends, or its answer."""
        if one.leg not in {Leg.CONTAINERS_TCP, Leg.VIP}:
            return False
        ends = {one.node, min(one.homes) if one.homes else one.target}
        if len(ends) == 1:
            return False
        is_one = any(self.has("checksums-node", node) for node in ends)
        return is_one or self.has("checksums", *sorted(ends))

    def hears(self, one: Asked, *, sent: bool) -> bool:
        is_heard = one.probe.kind in {ProbeKind.ICMP, ProbeKind.MTU, ProbeKind.UDP}
        is_large = one.probe.kind is ProbeKind.MTU
        filtered = one.leg is Leg.HOSTS_UDP and self.has("peer-port", one.target)
        return sent and is_heard and not filtered and not is_large and self.round_trip(one)[0]

    def facts(self, node: NodeName) -> KernelFacts:
        quiet = {(one.kind, one.a) for one in self._faults if one.is_quiet}
        routes = tuple(
            RouteFact(subnet=spec.subnet)
            for spec in self._scene.nodes
            if spec.name != node and (self.route(node, spec.name) or ("route", node) in quiet)
        )
        drops = FilterFact(hook="forward", where="chain FORWARD in table ip filter")
        return KernelFacts(
            is_forwarding=not self.has("forward", node) or ("forward", node) in quiet,
            routes=routes,
            filters=(drops,) if self.has("firewall", node) else (),
            leaves_checksums=any(one.kind.startswith("checksums") for one in self._faults),
        )

    def answers_to(self, here: NodeName, node: NodeName) -> bool:
        is_reached = self.path(here, node) and self.path(node, here)
        return is_reached and not any(
            self.has(kind, node) for kind in ("down", "agent", "agent-port")
        )


def run(plan: NetPlan, here: NodeName, *faults: Fault) -> Seen:
    """Return what the scheduler on `here` sees."""
    packets = Packets(plan.scene, *faults)
    asked = {spec.name for spec in plan.scene.nodes if packets.answers_to(here, spec.name)}
    asked |= {here}  # an agent's own host is no way at all
    results = {one.id: packets.result(one) for one in plan.asked if one.node in asked}
    answers = {
        node: ProbeAnswer(
            node=node,
            results=tuple(results[one.id] for one in plan.asked if one.node == node),
            heard=tuple(_heard(plan, packets, node, asked)),
            facts=packets.facts(node),
        )
        for node in sorted(asked)
    }
    silent = {
        spec.name: "it does not answer" for spec in plan.scene.nodes if spec.name not in asked
    }
    return Seen(plan=plan, answers=answers, silent=silent, here=here)


def _heard(plan: NetPlan, packets: Packets, node: NodeName, asked: set[NodeName]) -> Iterator[int]:
    for one in plan.asked:
        if one.target == node and packets.hears(one, sent=one.node in asked):
            yield one.id


def scene(count: int, *, bare: frozenset[int] = frozenset()) -> Scene:
    """Return nodes with a container on each but `bare`, on one network with names and a service."""
    names = [NodeName(f"node-{number}") for number in range(1, count + 1)]
    specs = tuple(sorted((node_spec(name) for name in names), key=lambda spec: spec.name))
    network = frozenset({"shop_default"})
    samples = {
        spec.name: Sample(
            id=AllocId(f"shop.web.{number}.a"),
            stack=StackName("shop"),
            service=ServiceName("web"),
            address=spec.subnet.replace("0/24", "2"),
            networks=network,
            tcp_port=80,
        )
        for number, spec in enumerate(specs, 1)
        if number not in bare
    }
    ports = (
        PublishedPort(published=8080, target=80, protocol=Protocol.HTTP),
        PublishedPort(published=8443, target=80),
    )
    homes = frozenset(samples)
    web = Target(name="shop.web", homes=homes, vip="198.19.255.1", networks=network, ports=ports)
    return Scene(nodes=specs, samples=samples, targets=(web,) if homes else ())
