"""Where requests are sent while a host is doubted, and when nobody sends any more."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from scheduler.allocs import Alloc, allocs_of
from scheduler.nodes import Judged, Verdict, Verdicts
from scheduler.routes import drained, routes_of
from scheduler.world import World
from shared.model import (
    AllocId,
    Endpoint,
    EndpointState,
    NodeName,
    Routes,
    ServiceName,
    ServiceRoutes,
    StackName,
    Want,
)
from tests.build import asked, assignment, node, running, service, workload, world

SHOP, WEB = StackName("shop"), ServiceName("web")
SPEC = service(replicas=3, port=8080)
OLD = AllocId("shop.web.1.old")


def alloc(slot: int, want: Want = Want.RUN, *, doubted: bool = False) -> Alloc:
    id_ = f"shop.web.{slot}.a"
    verdict = Verdict.SUSPECT if doubted else Verdict.READY
    held = assignment(id_, SPEC.workload, want=want)
    return Alloc(held, NodeName(f"node-{slot}"), verdict, running(id_), doubted)


def endpoints(*allocs: Alloc) -> dict[AllocId, EndpointState]:
    found = routes_of(SHOP, [asked(SHOP, SPEC)], {WEB: allocs})
    assert found is not None
    return {each.allocation: each.state for each in found.services[0].endpoints}


@given(st.lists(st.booleans(), min_size=1, max_size=6))
def test_doubted_hosts_get_requests_only_where_there_are_no_others(doubts: list[bool]) -> None:
    allocs = [alloc(slot, doubted=doubted) for slot, doubted in enumerate(doubts, 1)]
    sound = {each.id for each in allocs if not each.is_doubted}
    assert endpoints(*allocs).keys() == (sound or {each.id for each in allocs})


def test_one_that_drains_elsewhere_is_no_reason_to_leave_the_only_one_that_runs() -> None:
    allocs = [alloc(1, doubted=True), alloc(2, Want.DRAIN)]
    assert list(endpoints(*allocs).values()) == [EndpointState.READY, EndpointState.DRAINING]


def test_a_standby_is_never_an_endpoint() -> None:
    assert list(endpoints(alloc(1), alloc(2, Want.STANDBY))) == ["shop.web.1.a"]


def draining(acked: dict[str, int], *, busy: str = "", alive: bool = True) -> World:
    """Return a world where node-1 drains OLD; every node has seen the routes as `acked` says."""
    served = ServiceRoutes(
        service=WEB,
        ports=SPEC.workload.ports,
        endpoints=(
            Endpoint(
                allocation=OLD,
                node=NodeName("node-1"),
                address="198.19.1.2",
                state=EndpointState.DRAINING,
            ),
        ),
    )
    held = assignment(OLD, workload(port=8080), want=Want.DRAIN)
    hosts = [
        node("node-1", held, statuses=[running(OLD)], acked={"shop": acked["node-1"]}),
        node("node-2", acked={"shop": acked["node-2"]}, alive=alive),
    ]
    reports = [
        msgspec.structs.replace(
            host, report=msgspec.structs.replace(host.report, busy=frozenset({OLD}))
        )
        if host.spec.name == busy and host.report
        else host
        for host in hosts
    ]
    return world(reports, routes=[Routes(stack=SHOP, services=(served,))])


def gone(state: World, verdict: Verdict = Verdict.READY) -> frozenset[AllocId]:
    verdicts: Verdicts = {NodeName("node-1"): Verdict.READY, NodeName("node-2"): verdict}
    return drained(state, verdicts, allocs_of(state, Judged(verdicts=verdicts)))


def test_one_drains_until_every_gateway_that_can_be_reached_has_let_go() -> None:
    assert gone(draining({"node-1": 1, "node-2": 1})) == {OLD}
    assert gone(draining({"node-1": 1, "node-2": 0})) == set()
    assert gone(draining({"node-1": 1, "node-2": 1}, busy="node-2")) == set()


def test_a_gateway_on_an_unreachable_host_is_not_waited_for() -> None:
    behind, busy = (
        draining({"node-1": 1, "node-2": 0}),
        draining({"node-1": 1, "node-2": 1}, busy="node-2"),
    )
    assert gone(behind, Verdict.UNREACHABLE) == gone(busy, Verdict.UNREACHABLE) == {OLD}
    assert gone(behind, Verdict.SUSPECT) == gone(busy, Verdict.SUSPECT) == set()


def test_nor_is_one_whose_agent_has_no_session() -> None:
    assert gone(draining({"node-1": 1, "node-2": 0}, alive=False), Verdict.LOST) == {OLD}
