"""The world -> who may talk to whom: networks and who is on them, ways in, virtual addresses.

Pure. It shows what was decided, not what packets do: that is for `hafen net doctor`.
"""

from collections.abc import Iterator, Mapping

from scheduler.net.scene import networks_of
from scheduler.world import World
from shared.api import EntryView, MemberView, NetView, ReachView, ServiceNetView
from shared.model import (
    AllocId,
    EndpointState,
    Joined,
    Network,
    ServiceName,
    ServiceRoutes,
    ServiceSpec,
    StackName,
)
from shared.states import AllocState


def net_view(world: World) -> NetView:
    """Return who may talk to whom in a world."""
    addresses = _addresses(world)
    routes = {
        (stack, service.service): service
        for stack, state in world.routes.items()
        for service in state.routes.services
    }
    services = [
        (f"{stack}.{spec.name}", spec, routes.get((stack, spec.name)))
        for stack, state in sorted(world.stacks.items())
        for spec in sorted(state.stack.services, key=lambda spec: spec.name)
    ]
    members: dict[str, list[MemberView]] = {}
    for name, spec, served in services:
        for joined in _joined(spec, served):
            known = addresses.get(name, {})
            member = MemberView(service=name, names=joined.aliases, addresses=known)
            members.setdefault(joined.network, []).append(member)
    known_networks = networks_of(world)
    return NetView(
        networks=tuple(
            ReachView(
                name=name,
                internal=known_networks.get(name, Network(name=name)).internal,
                subnet=known_networks.get(name, Network(name=name)).subnet,
                members=tuple(members.get(name, ())),
            )
            for name in sorted(known_networks.keys() | members.keys())
        ),
        services=tuple(_service(name, spec, served) for name, spec, served in services),
        entries=tuple(sorted(_entries(services), key=lambda one: (one.published, one.service))),
    )


def _joined(spec: ServiceSpec, served: ServiceRoutes | None) -> tuple[Joined, ...]:
    """Return a service's parts in networks; one that names none is on the network of no name."""
    if spec.workload.network_mode:
        return ()
    named = served.networks if served is not None and served.networks else spec.workload.networks
    return named or (Joined(network=""),)


def _addresses(world: World) -> Mapping[str, Mapping[AllocId, str]]:
    """Return by service the addresses of what runs."""
    found: dict[str, dict[AllocId, str]] = {}
    for node in world.nodes.values():
        owners = {one.id: _owner(one.stack, one.service) for one in node.assignments}
        for status in node.report.allocations if node.report is not None else ():
            if status.state is AllocState.RUNNING and status.address and status.id in owners:
                found.setdefault(owners[status.id], {})[status.id] = status.address
    return {owner: dict(sorted(found[owner].items())) for owner in sorted(found)}


def _owner(stack: StackName, service: ServiceName) -> str:
    return f"{stack}.{service}"


def _service(name: str, spec: ServiceSpec, served: ServiceRoutes | None) -> ServiceNetView:
    endpoints = served.endpoints if served is not None else ()
    return ServiceNetView(
        service=name,
        networks=tuple(joined.network for joined in _joined(spec, served) if joined.network),
        vip=served.vip if served is not None else "",
        mode=spec.workload.network_mode,
        endpoints={
            one.allocation: one.address for one in endpoints if one.state is EndpointState.READY
        },
    )


def _entries(
    services: list[tuple[str, ServiceSpec, ServiceRoutes | None]],
) -> Iterator[EntryView]:
    for name, spec, served in services:
        for port in served.ports if served is not None else spec.workload.ports:
            yield EntryView(
                service=name,
                published=port.published,
                target=port.target,
                protocol=port.protocol,
                is_host=port.is_host,
            )
