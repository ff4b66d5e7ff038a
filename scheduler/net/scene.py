"""The world -> what there is to probe: nodes, a container on each, services with a way to them.

Pure.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from scheduler.traffic import networks_made
from scheduler.world import World
from shared.model import (
    AllocId,
    Assignment,
    EndpointState,
    Network,
    NodeName,
    NodeSpec,
    Protocol,
    PublishedPort,
    ServiceName,
    StackName,
)
from shared.states import AllocState


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A container that speaks for its node.

    Attributes:
        networks: what it is on; empty: what every container is on that names none.
        has_egress: whether something of it leads out of the cluster's networks.
        tcp_port: where it takes connections; 0: nobody knows such a port.
    """

    id: AllocId
    stack: StackName
    service: ServiceName
    address: str
    networks: frozenset[str] = frozenset()
    has_egress: bool = True
    tcp_port: int = 0

    def shares(self, networks: frozenset[str]) -> bool:
        """Say whether it reaches what is on `networks`."""
        return bool(self.networks & networks) or not (self.networks or networks)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A service with a virtual address or published ports.

    Attributes:
        homes: the nodes of its ready replicas.
    """

    name: str
    homes: frozenset[NodeName]
    vip: str = ""
    networks: frozenset[str] = frozenset()
    ports: tuple[PublishedPort, ...] = ()


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """What the planner chooses from; everything is sorted by name."""

    nodes: tuple[NodeSpec, ...]
    samples: Mapping[NodeName, Sample] = {}
    targets: tuple[Target, ...] = ()


def scene_of(world: World) -> Scene:
    """Return what there is to probe in a world."""
    internal = {name for name, network in networks_of(world).items() if network.internal}
    ready = _ready(world)
    found = {name: tuple(_samples(world, name, internal, ready)) for name in sorted(world.nodes)}
    return Scene(
        nodes=tuple(world.nodes[name].spec for name in sorted(world.nodes)),
        samples=dict(_chosen(found)),
        targets=tuple(_targets(world)),
    )


def networks_of(world: World) -> Mapping[str, Network]:
    """Return every network that there is: as routes have it, or else as somebody makes it.

    Routes are what nodes go by, and keep a network that nobody makes any more while it is used.
    """
    routed = {
        network.name: network
        for state in world.routes.values()
        for network in state.routes.networks
    }
    return {**networks_made(world), **routed}


def _ready(world: World) -> frozenset[AllocId]:
    return frozenset(
        endpoint.allocation
        for state in world.routes.values()
        for service in state.routes.services
        for endpoint in service.endpoints
        if endpoint.state is EndpointState.READY
    )


def _samples(
    world: World, node: NodeName, internal: set[str], ready: frozenset[AllocId]
) -> Iterator[Sample]:
    """Yield the running containers of a node that have a network of its own."""
    state = world.nodes[node]
    wanted = {one.id: one for one in state.assignments}
    for status in state.report.allocations if state.report is not None else ():
        assignment = wanted.get(status.id)
        if status.state is not AllocState.RUNNING or not status.address or assignment is None:
            continue
        if assignment.workload.network_mode:
            continue
        networks = frozenset(joined.network for joined in assignment.workload.networks)
        yield Sample(
            id=status.id,
            stack=assignment.stack,
            service=assignment.service,
            address=status.address,
            networks=networks,
            has_egress=not networks or bool(networks - internal),
            tcp_port=_tcp_port(assignment) if status.id in ready else 0,
        )


def _tcp_port(assignment: Assignment) -> int:
    ports = (port.target for port in assignment.workload.ports if port.protocol != Protocol.UDP)
    return next(ports, 0)


def _chosen(found: Mapping[NodeName, tuple[Sample, ...]]) -> Iterator[tuple[NodeName, Sample]]:
    """Yield a sample a node: best one on the network that most nodes have a container on.

    Of those one with a port that takes connections, so that more can be tried.
    """
    nodes_with: Counter[str] = Counter(
        network
        for samples in found.values()
        for network in sorted({name for one in samples for name in one.networks or {""}})
    )
    common = min(nodes_with, key=lambda name: (-nodes_with[name], name), default="")
    for node, samples in found.items():
        if samples:
            yield node, min(samples, key=lambda one: _rank(one, common))


def _rank(one: Sample, common: str) -> tuple[bool, bool, bool, str]:
    is_common = common in (one.networks or {""})
    return not is_common, not one.has_egress, not one.tcp_port, one.id


def _targets(world: World) -> Iterable[Target]:
    for stack, state in world.routes.items():
        for service in state.routes.services:
            homes = frozenset(
                endpoint.node
                for endpoint in service.endpoints
                if endpoint.state is EndpointState.READY
            )
            if homes and (service.vip or service.ports):
                yield Target(
                    name=f"{stack}.{service.service}",
                    homes=homes,
                    vip=service.vip,
                    networks=frozenset(joined.network for joined in service.networks),
                    ports=service.ports,
                )
