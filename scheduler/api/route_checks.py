"""What must be so about HTTP routes and how requests are treated, for every client.

Pure.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from shared.hosts import NO_WILDCARD, host_problem, path_problem
from shared.model import (
    HttpRoute,
    Protocol,
    RouteTls,
    SendProxy,
    ServiceSpec,
    Stack,
    StackName,
    listened,
)

EDGE_PORTS: Final = (80, 443)
# One map of every gateway has them all; one of 10,000 is loaded and looked up without a delay.
ROUTES_MAX: Final = 128
HOLD_S_MAX: Final = 300.0
TIMEOUT_S_MAX: Final = 24 * 3600.0
_HEADER: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def spec_problems(spec: ServiceSpec) -> Iterator[str]:
    """Yield what is wrong with one service's routes and requests, one sentence each."""
    if len(spec.routes) > ROUTES_MAX:
        yield f"{len(spec.routes)} routes; {ROUTES_MAX} are the most"
    known = listened(spec.workload)
    for route in spec.routes:
        if why := host_problem(route.host) or path_problem(route.path):
            yield f"route {route.place[:80]}: {why}"
        if route.host != route.host.lower():
            yield f"route {route.place[:80]}: a host is written in lower case"
        if route.port not in known:
            ports = ", ".join(map(str, known)) or "none"
            yield f"route {route.place[:80]}: port {route.port} is unknown; its ports: {ports}"
        if route.tls is RouteTls.ACME and route.host.startswith("*."):
            yield f"route {route.place[:80]}: {NO_WILDCARD}"
        if route.hsts_s < 0 or (route.hsts_s and not route.tls.redirects):
            yield f"route {route.place[:80]}: hsts is for routes that redirect to TLS"
    yield from _traffic(spec)


def _traffic(spec: ServiceSpec) -> Iterator[str]:
    traffic = spec.traffic
    if not 0 <= traffic.hold_s <= HOLD_S_MAX:
        yield f"hold is {traffic.hold_s:g} s; 0 to {HOLD_S_MAX:g} s are possible"
    if not 1 <= traffic.timeout_s <= TIMEOUT_S_MAX:
        yield f"timeout is {traffic.timeout_s:g} s; 1 to {TIMEOUT_S_MAX:g} s are possible"
    if not _HEADER.fullmatch(traffic.idempotency_header):
        yield (
            f"idempotency_header {traffic.idempotency_header[:80]!r} is no header: a-z, 0-9 and -"
        )
    if traffic.max_body_bytes < 0:
        yield "max_body is negative"
    is_sent = bool(spec.routes) or any(
        port.protocol is not Protocol.UDP and not port.is_host for port in spec.workload.ports
    )
    if traffic.send_proxy is not SendProxy.NO and not is_sent:
        yield "send_proxy: no gateway sends anything to it; publish a tcp port or give it a route"


def route_problems(
    name: StackName,
    services: Sequence[ServiceSpec],
    others: Mapping[StackName, Stack],
    edge: Sequence[int] = EDGE_PORTS,
) -> Iterator[str]:
    """Yield what is wrong between services and between stacks.

    Args:
        name: of the stack.
        services: its.
        others: every other stack of the cluster.
        edge: the ports on which gateways serve routes.
    """
    elsewhere = [
        (f"stack {other.name}, service {spec.name}", spec)
        for other in others.values()
        if other.name != name
        for spec in other.services
    ]
    here = [(f"service {spec.name}", spec) for spec in services]
    taken = {route.place: owner for owner, spec in elsewhere for route in spec.routes}
    for owner, spec in here:
        for route in spec.routes:
            if (other := taken.get(route.place)) is not None:
                yield f"{owner}: route {route.place} belongs to {other}"
            taken.setdefault(route.place, owner)
    yield from _edge(here, elsewhere, edge)


_Owned = Sequence[tuple[str, ServiceSpec]]


def _edge(here: _Owned, elsewhere: _Owned, edge: Sequence[int]) -> Iterator[str]:
    """Yield who publishes a port that routes need; each is refused where it comes second."""
    routed = _first_routed(here) or _first_routed(elsewhere)
    if routed is None:
        return
    owner, route = routed
    publishers = [*here, *(elsewhere if _first_routed(here) else [])]
    for who, spec in publishers:
        for port in spec.workload.ports:
            if port.published in edge and port.protocol is not Protocol.UDP:
                yield (
                    f"{who} publishes port {port.published}, on which gateways serve routes such "
                    f"as {route.place} of {owner}; publish another, or make it a route"
                )


def _first_routed(owned: _Owned) -> tuple[str, HttpRoute] | None:
    return next(((owner, route) for owner, spec in owned for route in spec.routes), None)
