"""What stacks may not do to each other with routes."""

import msgspec

from scheduler.api.route_checks import route_problems
from shared.model import HttpRoute, PublishedPort, Stack, StackName
from tests.unit.scheduler.api.build import SHOP, spec, stack

ROUTED = msgspec.structs.replace(spec(), routes=(HttpRoute(host="a.org", path="/api/"),))
OTHER = StackName("other")


def others(*services: object) -> dict[StackName, Stack]:
    return {OTHER: msgspec.structs.replace(stack(), name=OTHER, services=tuple(services))}


def test_a_route_belongs_to_one_service_and_both_are_named() -> None:
    same = msgspec.structs.replace(ROUTED, routes=(HttpRoute(host="a.org", path="/api"),))
    assert list(route_problems(SHOP, [same], others(ROUTED))) == [
        "service web: route a.org/api belongs to stack other, service web"
    ]
    assert list(route_problems(OTHER, [same], others(ROUTED))) == []


def test_a_port_that_routes_need_is_published_by_nobody() -> None:
    workload = spec().workload
    port = PublishedPort(published=80, target=80)
    publisher = msgspec.structs.replace(
        spec("edge"), workload=msgspec.structs.replace(workload, ports=(port,))
    )
    (said,) = route_problems(SHOP, [ROUTED], others(publisher))
    assert said.startswith("stack other, service edge publishes port 80, on which gateways serve")
    (said,) = route_problems(SHOP, [publisher], others(ROUTED))
    assert said.startswith("service edge publishes port 80")
    assert "a.org/api of stack other, service web" in said
    assert list(route_problems(SHOP, [publisher], {})) == []
    assert list(route_problems(SHOP, [ROUTED], others(publisher), edge=(8081, 8443))) == []
