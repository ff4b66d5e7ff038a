"""Where published ports lead.

The endpoints of every service, and which allocations no gateway uses any more.

Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from scheduler.allocs import Alloc, Asked
from scheduler.nodes import Verdict, Verdicts
from scheduler.world import RoutesState, World
from shared.model import (
    Affinity,
    AllocId,
    Endpoint,
    EndpointState,
    HttpRoute,
    PublishedPort,
    Report,
    Routes,
    ServiceRoutes,
    StackName,
    Traffic,
    Want,
    listened,
)


def routes_of(
    stack: StackName,
    asked: Iterable[Asked],
    allocs: Mapping[str, Sequence[Alloc]],
    soaking: AbstractSet[AllocId] = frozenset(),
) -> Routes | None:
    """Return what gateways should serve for a stack; None: nothing is published.

    Args:
        stack: its name.
        asked: its services, those that should not run any more included.
        allocs: per service, its allocations as they will be once the plan is written.
        soaking: those that get no requests yet.
    """
    services = tuple(
        found
        for service in asked
        if (found := _service(service, allocs.get(service.service, ()), soaking)) is not None
    )
    return Routes(stack=stack, services=services) if services else None


def _service(
    asked: Asked, allocs: Sequence[Alloc], soaking: AbstractSet[AllocId]
) -> ServiceRoutes | None:
    ports = _ports(asked, allocs)
    routes = asked.spec.routes if asked.spec is not None else ()
    if not (ports or routes):
        return None
    endpoints = tuple(
        Endpoint(
            allocation=alloc.id,
            node=alloc.node,
            address=alloc.status.address,
            state=_state(alloc),
            targets=_targets(alloc, ports),
            route_targets=_route_targets(alloc, routes),
        )
        for alloc in _served(alloc for alloc in allocs if alloc.id not in soaking)
        if alloc.status is not None and alloc.status.address
    )
    return ServiceRoutes(
        service=asked.service,
        ports=ports,
        endpoints=endpoints,
        replicas=asked.replicas,
        affinity=asked.spec.affinity if asked.spec is not None else Affinity.NONE,
        routes=routes,
        traffic=asked.spec.traffic if asked.spec is not None else Traffic(),
    )


def _served(allocs: Iterable[Alloc]) -> Sequence[Alloc]:
    """Return the allocations that can take requests; one peer's doubt is enough to prefer others.

    Where all are doubted, each is still better than none.
    """
    ready = [
        alloc for alloc in allocs if alloc.is_ready and alloc.assignment.want is not Want.STANDBY
    ]
    sound = [alloc for alloc in ready if not alloc.is_doubted]
    return sound if any(alloc.assignment.want is Want.RUN for alloc in sound) else ready


def _ports(asked: Asked, allocs: Sequence[Alloc]) -> tuple[PublishedPort, ...]:
    """Return the ports that are asked for; of a service that goes, those it still has."""
    if asked.spec is not None:
        return asked.spec.workload.ports
    return allocs[0].assignment.workload.ports if allocs else ()


def _state(alloc: Alloc) -> EndpointState:
    return EndpointState.READY if alloc.assignment.want is Want.RUN else EndpointState.DRAINING


def _targets(alloc: Alloc, ports: Iterable[PublishedPort]) -> Mapping[int, int]:
    """Return where an allocation of another generation listens, where that differs from now."""
    own = {port.published: port.target for port in alloc.assignment.workload.ports}
    return {
        port.published: own[port.published]
        for port in ports
        if own.get(port.published, port.target) != port.target
    }


def _route_targets(alloc: Alloc, routes: Iterable[HttpRoute]) -> Mapping[int, int]:
    """Return where one without a route's port listens instead: at its only one, if so."""
    own = listened(alloc.assignment.workload)
    if len(own) != 1:
        return {}
    return {route.port: own[0] for route in routes if route.port != own[0]}


def drained(world: World, verdicts: Verdicts, allocs: Iterable[Alloc]) -> frozenset[AllocId]:
    """Return the draining allocations that every gateway in reach has stopped using."""
    gateways = [
        node.report
        for name, node in world.nodes.items()
        if node.alive and node.report and verdicts[name] is not Verdict.UNREACHABLE
    ]
    return frozenset(
        alloc.id
        for alloc in allocs
        if alloc.assignment.want is Want.DRAIN
        and _is_unused(gateways, alloc.id, world.routes.get(alloc.assignment.stack))
    )


def _is_unused(gateways: Iterable[Report], id_: AllocId, published: RoutesState | None) -> bool:
    if published is None:
        return True
    for service in published.routes.services:
        for endpoint in service.endpoints:
            if endpoint.allocation == id_ and endpoint.state is EndpointState.READY:
                return False
    stack = published.routes.stack
    return all(
        report.acked.get(stack, 0) >= published.revision and id_ not in report.busy
        for report in gateways
    )
