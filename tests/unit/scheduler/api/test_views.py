"""What the API answers about a world."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from scheduler.api import views
from scheduler.api.placed import placed
from scheduler.candidates import room_of
from scheduler.fit import minus
from scheduler.nodes import Judged, Verdict
from scheduler.world import NodeState, World
from shared.api import ClusterView, NodeView, ServiceView
from shared.model import (
    AllocId,
    Claim,
    Health,
    NodeName,
    NodeSpec,
    Resources,
    Revision,
    ServiceName,
    Want,
)
from shared.states import AllocState
from tests.unit.scheduler.api.build import (
    PORT,
    SHOP,
    assignment,
    judged,
    node,
    spec,
    stack,
    status,
    world,
)


def seen_by_id(seen: World) -> dict[str, tuple[AllocState, Health, bool, str]]:
    return {
        one.view.id: (one.view.state, one.view.health, one.view.draining, one.view.reason)
        for one in placed(seen, judged(seen))
    }


def test_an_allocation_is_what_its_node_says_and_pending_until_then() -> None:
    web = spec(replicas=3)
    one, two, old = assignment(web, 1), assignment(web, 2), assignment(web, 3, want=Want.DRAIN)
    seen = world(node(1, [one, two, old], [status(one), status(old)]), stacks=[stack(web)])

    assert seen_by_id(seen) == {
        "shop.web.1.a": (AllocState.RUNNING, Health.HEALTHY, False, ""),
        "shop.web.2.a": (AllocState.PENDING, Health.STARTING, False, ""),
        "shop.web.3.a": (AllocState.RUNNING, Health.HEALTHY, True, ""),
    }


def test_a_replica_that_drains_answers_nothing_new() -> None:
    web = spec()
    one, old = assignment(web), assignment(web, suffix="old", want=Want.DRAIN)
    seen = world(node(1, [one, old], [status(one), status(old)]), stacks=[stack(web)])

    assert {found.view.id: found.is_ready for found in placed(seen, judged(seen))} == {
        "shop.web.1.a": True,
        "shop.web.1.old": False,
    }


def test_a_silent_node_is_the_reason_and_a_lost_one_loses_its_allocations() -> None:
    web = spec()
    one = assignment(web)
    seen = world(node(1, [one], [status(one)], alive=False), stacks=[stack(web)])
    lost = placed(seen, {NodeName("node-1"): Verdict.LOST})

    assert seen_by_id(seen)["shop.web.1.a"][3] == "node-1 does not answer"
    assert [(found.view.state, found.view.reason, found.is_there) for found in lost] == [
        (AllocState.LOST, "node-1 is lost", False)
    ]


def test_what_a_dead_node_last_reported_is_not_listed_once_its_manifest_is_empty() -> None:
    stale = assignment(spec())

    assert placed(world(node(1, [], [status(stale)], alive=False)), {}) == ()


def test_a_container_that_nobody_asked_for_is_listed_as_leaving() -> None:
    stale = assignment(spec())
    found = placed(world(node(1, [], [status(stale)])), {NodeName("node-1"): Verdict.READY})

    assert [(one.view.stack, one.view.service, one.view.slot) for one in found] == [
        (SHOP, ServiceName("web"), 1)
    ]
    assert [(one.view.draining, one.is_ready, one.is_there) for one in found] == [
        (True, False, True)
    ]


def test_nodes_show_what_is_reserved_who_leads_and_what_is_wrong() -> None:
    web = spec()
    bare = NodeState(spec=NodeSpec(name=NodeName("node-2"), address="192.0.2.2", subnet="-"))
    seen = world(node(1, [assignment(web)]), bare)

    assert views.nodes(seen, Judged(verdicts=judged(seen))) == (
        NodeView(
            name=NodeName("node-1"),
            state="ready",
            address="192.0.2.1",
            capacity=Resources(cpu_millis=2000, memory_bytes=2**30),
            reserved=Resources(),
            allocations=1,
            leader=True,
        ),
        NodeView(name=NodeName("node-2"), state="suspect", address="192.0.2.2"),
    )


def test_what_a_node_has_reserved_is_added_up_with_its_devices() -> None:
    needs = (
        Resources(cpu_millis=250, memory_bytes=2**20, pids=10, devices={"gpu": 1}),
        Resources(cpu_millis=500, devices={"gpu": 2, "fpga": 1}),
        Resources(),
    )
    web = spec()
    workloads = (msgspec.structs.replace(web.workload, reservations=each) for each in needs)
    held = [assignment(msgspec.structs.replace(web, workload=each)) for each in workloads]
    seen = world(node(1, held))
    (view,) = views.nodes(seen, Judged(verdicts=judged(seen)))
    assert view.reserved == Resources(
        cpu_millis=750, memory_bytes=2**20, pids=10, devices={"fpga": 1, "gpu": 3}
    )


@given(st.lists(st.sampled_from(AllocState), max_size=6))
def test_what_is_reserved_and_what_placement_finds_free_are_the_whole_node(
    states: list[AllocState],
) -> None:
    web = spec()
    needs = Resources(cpu_millis=250, memory_bytes=2**20)
    workload = msgspec.structs.replace(web.workload, reservations=needs)
    some = msgspec.structs.replace(web, workload=workload)
    held = [assignment(some, number) for number, _ in enumerate(states, 1)]
    told = [status(one, state) for one, state in zip(held, states, strict=True)]
    there = node(1, held, told)
    seen = world(there)
    (view,) = views.nodes(seen, Judged(verdicts=judged(seen)))
    assert there.report is not None
    free = room_of(there, there.report, there.assignments).free
    assert minus(view.capacity, view.reserved) == free


def test_the_cluster_counts_what_is_wanted_and_what_is_ready() -> None:
    web = spec(replicas=2)
    one = assignment(web)
    seen = world(node(1, [one], [status(one)]), stacks=[stack(web)])
    found = placed(seen, judged(seen))

    waiting = {SHOP: {ServiceName("web"): ("no room",)}}
    assert views.cluster(
        seen,
        Judged(verdicts=judged(seen)),
        found,
        waiting,
        revision=Revision(11),
        is_reachable=False,
    ) == ClusterView(
        etcd_reachable=False,
        leader=NodeName("node-1"),
        revision=Revision(11),
        nodes=views.nodes(seen, Judged(verdicts=judged(seen))),
        stacks=1,
        replicas_wanted=2,
        replicas_ready=1,
        services=views.services(seen, found, waiting).services,
    )


def test_services_are_those_asked_for_and_those_still_running() -> None:
    web, old = spec(replicas=2, ports=[PORT]), spec("old", image="busybox:1")
    one, two = assignment(web), assignment(old)
    seen = world(node(1, [one, two], [status(one), status(two)]), stacks=[stack(web)])
    found = placed(seen, judged(seen))

    assert views.services(seen, found, {SHOP: {ServiceName("web"): ("no room",)}}).services == (
        ServiceView(
            stack=SHOP,
            service=ServiceName("old"),
            image="busybox:1",
            replicas=0,
            ready=1,
            updated=0,
        ),
        ServiceView(
            stack=SHOP,
            service=ServiceName("web"),
            image="nginx:1",
            replicas=2,
            ready=1,
            updated=1,
            ports=("8080->80/http",),
            waiting=("no room",),
        ),
    )


def test_a_standby_is_prepared_once_it_is_made() -> None:
    web = msgspec.structs.replace(spec(), standby=2)
    one, waits = assignment(web), assignment(web, 2)
    made, making = (assignment(web, 0, suffix=suffix, want=Want.STANDBY) for suffix in ("b", "c"))
    half_made = msgspec.structs.replace(status(making, AllocState.PREPARING), address="")
    seen = world(
        node(1, [one, waits], [status(one), status(waits, AllocState.PREPARING)]),
        node(2, [made], [status(made, AllocState.PREPARING)]),
        node(3, [making], [half_made]),
        stacks=[stack(web)],
    )
    found = placed(seen, judged(seen))
    (view,) = views.services(seen, found, {}).services

    assert {each.view.id: (each.view.standby, each.is_prepared) for each in found} == {
        "shop.web.0.b": (True, True),
        "shop.web.0.c": (True, False),
        "shop.web.1.a": (False, False),
        "shop.web.2.a": (False, False),
    }
    assert (view.ready, view.standby, view.prepared) == (1, 2, 1)


def test_an_exclusive_service_shows_who_has_its_claim() -> None:
    lone = spec()
    workload = msgspec.structs.replace(lone.workload, exclusive=True)
    lone = msgspec.structs.replace(lone, workload=workload)
    one = msgspec.structs.replace(assignment(lone), epoch=12)
    claim = Claim(node=NodeName("node-2"), allocation=AllocId("shop.web.1.z"), epoch=5)
    seen = world(node(1, [one], [status(one)]), stacks=[stack(lone)])
    held = msgspec.structs.replace(seen, claims={(SHOP, lone.name, 1): claim})
    shown = [
        views.services(each, placed(each, judged(each)), {}).services[0] for each in (seen, held)
    ]

    assert [(view.exclusive, view.holder, view.epoch) for view in shown] == [
        (True, "", 0),
        (True, "node-2", 5),
    ]
    assert [each.view.epoch for each in placed(seen, judged(seen))] == [12]


def test_nodes_show_why_they_are_not_simply_well() -> None:
    seen = world(node(1))
    name = NodeName("node-1")
    judged_ = Judged(verdicts={name: Verdict.PROBATION}, reasons={name: "came back 3 s ago"})

    assert [(view.state, view.reason) for view in views.nodes(seen, judged_)] == [
        ("probation", "came back 3 s ago")
    ]


def test_allocations_are_filtered_by_every_name_that_is_given() -> None:
    web, api = spec(), spec("api")
    one, two = assignment(web), assignment(api)
    seen = world(node(1, [one]), node(2, [two]), stacks=[stack(web, api)])
    found = placed(seen, judged(seen))

    def ids(**names: str) -> list[str]:
        return [one.id for one in views.allocations(found, **names).allocations]

    assert ids() == ["shop.api.1.a", "shop.web.1.a"]
    assert ids(stack="shop", node="node-2") == ["shop.api.1.a"]
    assert ids(service="web") == ["shop.web.1.a"]
    assert ids(stack="blog") == []
