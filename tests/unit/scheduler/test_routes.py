"""Where requests are sent while a host is doubted, and when nobody sends any more."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from scheduler.allocs import Alloc, allocs_of
from scheduler.nodes import Judged, Verdict, Verdicts
from scheduler.routes import drained, routes_of
from scheduler.world import World
from shared.model import (
    AllocationStatus,
    AllocId,
    Endpoint,
    EndpointMode,
    EndpointState,
    Health,
    Joined,
    Network,
    NodeName,
    PublishedPort,
    Routes,
    ServiceName,
    ServiceRoutes,
    ServiceSpec,
    StackName,
    Want,
)
from shared.states import AllocState
from tests.build import asked, assignment, node, running, service, stack, workload, world
from tests.unit.scheduler.test_decide_settles import Obedient, at

SHOP, WEB = StackName("shop"), ServiceName("web")
SPEC = service(replicas=3, port=8080)
OLD = AllocId("shop.web.1.old")


def alloc(slot: int, want: Want = Want.RUN, *, doubted: bool = False) -> Alloc:
    id_ = f"shop.web.{slot}.a"
    verdict = Verdict.SUSPECT if doubted else Verdict.READY
    held = assignment(id_, SPEC.workload, want=want)
    return Alloc(held, NodeName(f"node-{slot}"), verdict, running(id_), doubted)


def endpoints(*allocs: Alloc) -> dict[AllocId, EndpointState]:
    found = routes_of(SHOP, [asked(SHOP, SPEC)], {(SHOP, WEB): allocs})
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


def draining(
    acked: dict[str, int],
    *,
    busy: str = "",
    alive: bool = True,
    state: EndpointState = EndpointState.DRAINING,
) -> World:
    """Return a world where node-1 drains OLD; every node has seen the routes as `acked` says."""
    served = ServiceRoutes(
        service=WEB,
        ports=SPEC.workload.ports,
        endpoints=(
            Endpoint(
                allocation=OLD,
                node=NodeName("node-1"),
                address="198.19.1.2",
                state=state,
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


def gone(state: World, verdict: Verdict = Verdict.READY, *headless: str) -> frozenset[AllocId]:
    verdicts: Verdicts = {NodeName("node-1"): Verdict.READY, NodeName("node-2"): verdict}
    judged = Judged(verdicts=verdicts, headless=frozenset(NodeName(name) for name in headless))
    return drained(state, judged, allocs_of(state, judged))


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


def test_nor_is_one_whose_agent_has_no_session_unless_its_host_answers() -> None:
    behind = draining({"node-1": 1, "node-2": 0}, alive=False)
    assert gone(behind, Verdict.LOST) == {OLD}
    assert gone(behind, Verdict.LOST, "node-2") == set()
    assert gone(behind, Verdict.SUSPECT, "node-2") == set()
    assert gone(behind, Verdict.UNREACHABLE, "node-2") == {OLD}
    known = draining({"node-1": 1, "node-2": 1}, alive=False)
    assert gone(known, Verdict.LOST, "node-2") == {OLD}


def test_one_that_is_sent_nothing_is_let_go_once_all_know_it_and_one_that_is_sent_to_never() -> (
    None
):
    present = EndpointState.PRESENT
    assert gone(draining({"node-1": 1, "node-2": 1}, state=present)) == {OLD}
    assert gone(draining({"node-1": 1, "node-2": 0}, state=present)) == set()
    assert gone(draining({"node-1": 9, "node-2": 9}, state=EndpointState.READY)) == set()


# ---------------------------------------------------------------- networks

BACK, FRONT = Joined(network="shop_back"), Joined(network="shop_front")
VIPS = "198.18.128.0/29"


def joined(spec: ServiceSpec, *networks: Joined, **said: Any) -> ServiceSpec:
    held = msgspec.structs.replace(spec.workload, networks=networks)
    return msgspec.structs.replace(spec, workload=held, **said)


def on(spec: ServiceSpec, slot: int, status: AllocationStatus | None, **said: Any) -> Alloc:
    """Return an allocation whose node has given it 198.19.9.<slot>, unless it says otherwise."""
    held = assignment(f"shop.web.{slot}.a", spec.workload, want=said.pop("want", Want.RUN))
    held = msgspec.structs.replace(held, address=f"198.19.9.{slot}")
    verdict = said.pop("verdict", Verdict.READY)
    return Alloc(held, NodeName(f"node-{slot}"), verdict, status, **said)


def routed(spec: ServiceSpec, *allocs: Alloc, soaking: frozenset[AllocId] = frozenset()) -> Any:
    found = routes_of(SHOP, [asked(SHOP, spec)], {(SHOP, WEB): allocs}, soaking)
    assert found is not None
    return found.services[0]


STATUSES = st.one_of(
    st.none(),
    st.builds(
        AllocationStatus,
        id=st.just(AllocId("x")),
        state=st.sampled_from(AllocState),
        health=st.sampled_from(Health),
        address=st.sampled_from(["", "198.19.1.7"]),
    ),
)
ALLOCS = st.lists(
    st.fixed_dictionaries(
        {
            "status": STATUSES,
            "want": st.sampled_from(Want),
            "verdict": st.sampled_from(Verdict),
            "is_doubted": st.booleans(),
        }
    ),
    max_size=5,
)


@given(ALLOCS, st.sampled_from([(), (BACK,)]), st.integers(0, 7))
def test_whatever_may_live_on_a_network_is_listed_once_and_only_the_ready_take_requests(
    drawn: list[dict[str, Any]], networks: tuple[Joined, ...], soaks: int
) -> None:
    spec = joined(SPEC, *networks)
    allocs = [on(spec, slot, **each) for slot, each in enumerate(drawn, 1)]
    soaking = frozenset(alloc.id for alloc in allocs if soaks >> alloc.assignment.slot & 1)
    found = routed(spec, *allocs, soaking=soaking)
    listed = {each.allocation: each for each in found.endpoints}
    assert len(listed) == len(found.endpoints)
    for alloc in allocs:
        over = alloc.is_lost or alloc.has_failed or alloc.is_complete
        endpoint = listed.get(alloc.id)
        if networks:
            assert (endpoint is not None) == (not over or alloc.is_ready), alloc
        if endpoint is None:
            continue
        assert endpoint.slot == alloc.assignment.slot
        assert endpoint.address == (
            (alloc.status and alloc.status.address) or f"198.19.9.{endpoint.slot}"
        )
        if endpoint.state is not EndpointState.PRESENT:
            assert alloc.is_ready
            assert alloc.id not in soaking
            assert (endpoint.state is EndpointState.READY) == (alloc.assignment.want is Want.RUN)
        else:
            assert networks


def test_a_replica_is_known_before_it_starts_and_while_it_stands_by() -> None:
    spec = joined(service(replicas=2), BACK)
    found = routed(spec, on(spec, 1, None), on(spec, 2, None, want=Want.STANDBY))
    assert [(one.address, one.state) for one in found.endpoints] == [
        ("198.19.9.1", EndpointState.PRESENT),
        ("198.19.9.2", EndpointState.PRESENT),
    ]
    assert found.served == ()


def test_a_service_on_a_network_has_routes_before_anything_of_it_is_placed() -> None:
    assert routed(joined(service(), BACK)).networks == (BACK,)
    assert routes_of(SHOP, [asked(SHOP, service())], {}) is None


def test_a_replica_of_another_version_says_what_differs() -> None:
    ports = (PublishedPort(published=8080, target=81),)
    old = msgspec.structs.replace(
        SPEC.workload, ports=ports, networks=(BACK, msgspec.structs.replace(FRONT, aliases=("x",)))
    )
    before = msgspec.structs.replace(SPEC, workload=old)
    spec = joined(SPEC, BACK)
    status = running("shop.web.1.a")
    found = routed(spec, on(before, 1, status), on(spec, 2, status))
    assert [(one.targets, one.networks) for one in found.endpoints] == [
        ({8080: 81}, ("shop_back", "shop_front")),
        ({}, None),
    ]


@given(ALLOCS)
def test_a_fixed_address_is_with_one_replica_at_most_and_with_none_that_is_given_up(
    drawn: list[dict[str, Any]],
) -> None:
    spec = joined(SPEC, msgspec.structs.replace(BACK, address="198.19.64.9"))
    allocs = [on(spec, slot, **each) for slot, each in enumerate(drawn, 1)]
    holders = [one for one in routed(spec, *allocs).endpoints if one.addresses]
    able = [
        alloc
        for alloc in allocs
        if alloc.assignment.want is Want.RUN
        and not (alloc.is_given_up or alloc.has_failed or alloc.is_complete)
    ]
    assert len(holders) == min(len(able), 1)
    assert {one.allocation for one in holders} <= {alloc.id for alloc in able}


def test_routes_carry_the_networks_a_stack_makes_and_those_it_uses() -> None:
    own, other = Network(name="shop_back", internal=True), Network(name="crm_all", internal=True)
    shop = msgspec.structs.replace(
        stack("shop", joined(service(), BACK, Joined(network="crm_all"))), networks=(own,)
    )
    crm = msgspec.structs.replace(stack("crm", joined(service())), networks=(other,))
    cluster = Obedient(1, [shop, crm])
    cluster.settle()
    assert cluster.world.routes[SHOP].routes.networks == (other, own)
    # Nobody makes it any more: what is on it stays shut in until it is gone.
    cluster.deploy([shop])
    cluster.settle()
    assert cluster.world.routes[SHOP].routes.networks == (other, own)


def test_a_service_has_its_virtual_address_from_its_first_routes_to_its_last() -> None:
    web = joined(service("web", replicas=2), BACK)
    one = stack("shop", web, joined(service("dns"), BACK, endpoint_mode=EndpointMode.DNSRR))
    cluster = Obedient(2, [one])
    cluster.vips = VIPS
    seen: set[str] = set()
    while cluster.step():
        seen |= {each.vip for each in cluster.world.routes[SHOP].routes.services}
    assert len(seen) == 2
    assert "" in seen
    cluster.deploy([])
    vip = max(seen)
    while cluster.step() and SHOP in cluster.world.routes:
        vips = {each.service: each.vip for each in cluster.world.routes[SHOP].routes.services}
        assert vips.get(WEB, vip) == vip
    assert SHOP not in cluster.world.routes


def test_without_a_network_of_virtual_addresses_nobody_has_one() -> None:
    cluster = Obedient(1, [stack("shop", joined(service(), BACK))])
    cluster.settle()
    assert [each.vip for each in cluster.world.routes[SHOP].routes.services] == [""]
    assert not at(cluster.now, cluster.world, cluster.memory).plan.writes
