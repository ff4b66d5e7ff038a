"""Where published ports, names and virtual addresses lead.

The endpoints of every service, and which allocations no gateway uses any more.

Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from scheduler.allocs import Alloc, Asked
from scheduler.nodes import Judged, Verdict
from scheduler.world import RoutesState, ServiceId, World
from shared.model import (
    Affinity,
    AllocId,
    Endpoint,
    EndpointState,
    HttpRoute,
    Joined,
    PublishedPort,
    Report,
    Routes,
    ServiceRoutes,
    StackName,
    Traffic,
    Want,
    Workload,
    listened,
)

_NONE: AbstractSet[AllocId] = frozenset()


def routes_of(
    stack: StackName,
    asked: Iterable[Asked],
    allocs: Mapping[ServiceId, Sequence[Alloc]],
    soaking: AbstractSet[AllocId] = _NONE,
    vips: Mapping[ServiceId, str] | None = None,
) -> Routes | None:
    """Return where the traffic of a stack goes; None: nothing is published or on a network.

    Args:
        stack: its name.
        asked: its services, those that should not run any more included.
        allocs: per service, its allocations as they will be once the plan is written.
        soaking: those that get no requests yet.
        vips: the services' virtual addresses.
    """
    found: list[ServiceRoutes] = []
    for service in asked:
        key = (stack, service.service)
        routes = _service(service, allocs.get(key, ()), soaking, (vips or {}).get(key, ""))
        if routes is not None:
            found.append(routes)
    return Routes(stack=stack, services=tuple(found)) if found else None


def _service(
    asked: Asked, allocs: Sequence[Alloc], soaking: AbstractSet[AllocId], vip: str
) -> ServiceRoutes | None:
    workload = _workload(asked, allocs)
    routes = asked.spec.routes if asked.spec is not None else ()
    if workload is None or not (workload.ports or workload.networks or routes):
        return None
    return ServiceRoutes(
        service=asked.service,
        ports=workload.ports,
        endpoints=_endpoints(allocs, workload, routes, soaking),
        replicas=asked.replicas,
        networks=workload.networks,
        vip=vip,
        affinity=asked.spec.affinity if asked.spec is not None else Affinity.NONE,
        routes=routes,
        traffic=asked.spec.traffic if asked.spec is not None else Traffic(),
    )


def _workload(asked: Asked, allocs: Sequence[Alloc]) -> Workload | None:
    """Return the version whose ports and networks count; of a service that goes, what is left."""
    if asked.spec is not None:
        return asked.spec.workload
    return allocs[0].assignment.workload if allocs else None


def _endpoints(
    allocs: Sequence[Alloc],
    workload: Workload,
    routes: Sequence[HttpRoute],
    soaking: AbstractSet[AllocId],
) -> tuple[Endpoint, ...]:
    served = {alloc.id for alloc in _served(alloc for alloc in allocs if alloc.id not in soaking)}
    fixed = _holder(allocs)
    found: list[Endpoint] = []
    for alloc in allocs:
        state = _state(alloc, workload, is_served=alloc.id in served)
        address = _address(alloc)
        if state is None or not address:
            continue
        own = alloc.assignment.workload
        found.append(
            Endpoint(
                allocation=alloc.id,
                node=alloc.node,
                address=address,
                state=state,
                targets=_targets(own.ports, workload.ports),
                route_targets=_route_targets(alloc, routes),
                networks=_networks(own.networks, workload.networks),
                slot=alloc.assignment.slot,
                addresses=_fixed(own) if alloc is fixed else (),
            )
        )
    return tuple(found)


def _state(alloc: Alloc, workload: Workload, *, is_served: bool) -> EndpointState | None:
    """Return what is sent to an allocation; None: it is not listed.

    Whatever may live and is on a network is: other nodes must let it in, and it them.
    """
    if is_served and alloc.status is not None and alloc.status.address:
        is_running = alloc.assignment.want is Want.RUN
        return EndpointState.READY if is_running else EndpointState.DRAINING
    is_joined = bool(workload.networks or alloc.assignment.workload.networks)
    is_over = alloc.is_lost or alloc.has_failed or alloc.is_complete
    return EndpointState.PRESENT if is_joined and not is_over else None


def _address(alloc: Alloc) -> str:
    """Return what its container has, or will have."""
    return (alloc.status.address if alloc.status is not None else "") or alloc.assignment.address


def _served(allocs: Iterable[Alloc]) -> Sequence[Alloc]:
    """Return the allocations that can take requests; one peer's doubt is enough to prefer others.

    Where all are doubted, each is still better than none.
    """
    ready = [
        alloc for alloc in allocs if alloc.is_ready and alloc.assignment.want is not Want.STANDBY
    ]
    sound = [alloc for alloc in ready if not alloc.is_doubted]
    return sound if any(alloc.assignment.want is Want.RUN for alloc in sound) else ready


def _targets(own: Iterable[PublishedPort], ports: Sequence[PublishedPort]) -> Mapping[int, int]:
    """Return where an allocation of another generation listens, where that differs from now."""
    if own == ports:
        return {}
    targets = {port.published: port.target for port in own}
    return {
        port.published: targets[port.published]
        for port in ports
        if targets.get(port.published, port.target) != port.target
    }


def _networks(own: Sequence[Joined], joined: Sequence[Joined]) -> tuple[str, ...] | None:
    """Return the networks of an allocation of another generation, where they differ from now."""
    if own == joined:
        return None
    found = tuple(each.network for each in own)
    return None if found == tuple(each.network for each in joined) else found


def _holder(allocs: Iterable[Alloc]) -> Alloc | None:
    """Return the one replica that has the service's fixed addresses; None: nobody has any now.

    Two may be meant to run for a moment, as when a host is back: it is the one that stays.
    """
    able = [
        alloc
        for alloc in allocs
        if alloc.assignment.workload.networks
        and alloc.assignment.want is Want.RUN
        and _fixed(alloc.assignment.workload)
        and not (alloc.is_given_up or alloc.has_failed or alloc.is_complete)
    ]
    return min(able, key=lambda alloc: alloc.preference, default=None)


def _fixed(workload: Workload) -> tuple[str, ...]:
    return tuple(each.address for each in workload.networks if each.address)


def _route_targets(alloc: Alloc, routes: Iterable[HttpRoute]) -> Mapping[int, int]:
    """Return where one without a route's port listens instead: at its only one, if so."""
    own = listened(alloc.assignment.workload)
    if len(own) != 1:
        return {}
    return {route.port: own[0] for route in routes if route.port != own[0]}


def drained(world: World, judged: Judged, allocs: Iterable[Alloc]) -> frozenset[AllocId]:
    """Return the draining allocations that every gateway in reach has stopped using."""
    gateways = [
        node.report
        for name, node in world.nodes.items()
        if node.report and (node.alive or name in judged.headless)
        if judged.verdicts[name] is not Verdict.UNREACHABLE
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
