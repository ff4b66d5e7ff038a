"""The leader's decision as a whole: examples for each rule, then a cluster that obeys it."""

import math
from collections.abc import Mapping

import msgspec

from scheduler.changes import retry_s
from scheduler.decide import Decision, decide
from scheduler.images import spare_images
from scheduler.memory import Memory
from scheduler.nodes import History, Verdicts, judge
from scheduler.story import Now
from scheduler.world import NodeState, World
from shared import keys
from shared.model import (
    AllocationStatus,
    Assignment,
    Endpoint,
    EndpointState,
    Health,
    Manifest,
    NodeName,
    Revision,
    Routes,
    ServiceName,
    ServiceRoutes,
    StackName,
    Want,
)
from shared.states import AllocState
from shared.timing import LAN
from tests.build import (
    MIB,
    ROOMY,
    asked_of,
    assignment,
    done,
    node,
    running,
    service,
    stack,
    workload,
    world,
)

DETECTION = LAN


def at(now: float, state: World, memory: Memory | None = None) -> Decision:
    return decide(state, memory or Memory(), Now(now, 1000.0 + now), DETECTION)


def manifests(decision: Decision) -> Mapping[str, tuple[Assignment, ...]]:
    return {
        write.record.node: write.record.assignments
        for write in decision.plan.writes
        if isinstance(write.record, Manifest)
    }


def routes(decision: Decision) -> list[Routes | None]:
    return [
        write.record
        for write in decision.plan.writes
        if write.key.startswith(keys.ROUTES) and not isinstance(write.record, Manifest)
        if write.record is None or isinstance(write.record, Routes)
    ]


def three_nodes() -> list[NodeState]:
    return [node("node-1"), node("node-2"), node("node-3")]


def test_a_new_stack_gets_its_replicas_on_different_nodes() -> None:
    decision = at(0, world(three_nodes(), [stack("shop", service(replicas=3))]))

    written = manifests(decision)
    assert {name: len(held) for name, held in written.items()} == {
        "node-1": 1,
        "node-2": 1,
        "node-3": 1,
    }
    assert {a.slot for held in written.values() for a in held} == {1, 2, 3}
    assert [event.kind for event in decision.plan.events] == ["placed"] * 3


def test_every_write_carries_the_revision_it_was_decided_at() -> None:
    decision = at(0, world(three_nodes(), [stack("shop", service(replicas=3, port=80))]))
    assert [(write.key, write.decided_at) for write in decision.plan.writes] == [
        (keys.desired(NodeName("node-1")), 1),
        (keys.desired(NodeName("node-2")), 1),
        (keys.desired(NodeName("node-3")), 1),
        (keys.routes(StackName("shop")), 0),
    ]


def with_images(state: World) -> World:
    """Return `state` with the images in every manifest that the leader would put there."""
    judged = judge_all(state)
    held = {name: each.assignments for name, each in state.nodes.items()}
    images = spare_images(state, judged, asked_of(state), held)
    nodes = {
        name: msgspec.structs.replace(
            each, manifest=msgspec.structs.replace(each.manifest, images=images.get(name, ()))
        )
        for name, each in state.nodes.items()
        if each.manifest is not None
    }
    return msgspec.structs.replace(state, nodes=nodes)


def judge_all(state: World) -> Verdicts:
    return judge(state, History(), 0.0, DETECTION).verdicts


def lone(alive: bool, want: Want = Want.RUN) -> World:  # noqa: FBT001 - reads well at the call
    web = assignment("shop.web.1.a", workload(port=80), want=want)
    home = node("node-1", web, alive=alive, statuses=[running("shop.web.1.a")])
    return with_images(
        world([home, node("node-2"), node("node-3")], [stack("shop", service(port=80))], [served()])
    )


def served(*states: EndpointState) -> Routes:
    return Routes(
        stack=StackName("shop"),
        services=(
            ServiceRoutes(
                service=ServiceName("web"),
                ports=workload(port=80).ports,
                endpoints=tuple(
                    Endpoint(
                        allocation=assignment("shop.web.1.a").id,
                        node=NodeName("node-1"),
                        address="198.19.1.2",
                        state=state,
                        slot=1,
                    )
                    for state in (states or (EndpointState.READY,))
                ),
            ),
        ),
    )


def test_a_converged_cluster_writes_nothing() -> None:
    decision = at(0, lone(alive=True))
    assert decision.plan.writes == ()
    assert decision.plan.events == ()


def test_a_silent_node_is_suspect_first_and_keeps_its_work() -> None:
    decision = at(10, lone(alive=False))
    assert manifests(decision) == {}
    assert [event.kind for event in decision.plan.events] == ["node_suspect"]
    assert decision.plan.wake_in_s == DETECTION.grace_s


def test_a_lost_node_s_work_moves_in_one_plan_and_its_endpoint_goes() -> None:
    suspect = at(10, lone(alive=False))
    decision = at(10.5, lone(alive=False), suspect.memory)

    written = manifests(decision)
    assert written["node-1"] == ()
    assert [(a.slot, a.want) for a in written["node-2"]] == [(1, Want.RUN)]
    (after,) = routes(decision)
    assert after is not None
    assert after.services[0].endpoints == ()
    assert [event.kind for event in decision.plan.events] == ["node_lost", "placed"]


def test_a_lost_node_keeps_its_work_in_its_manifest_while_no_other_can_take_it() -> None:
    big = service(memory_bytes=64 * MIB)
    held = assignment("shop.web.1.a", big.workload)
    small = msgspec.structs.replace(ROOMY, memory_bytes=MIB)
    state = world(
        [node("node-1", held, alive=False), node("node-2", capacity=small), node("node-3")],
        [stack("shop", big)],
    )
    full = msgspec.structs.replace(
        state, nodes={**state.nodes, NodeName("node-3"): node("node-3", capacity=small)}
    )
    full = with_images(full)
    decision = at(10.5, full, at(10, full).memory)
    assert manifests(decision) == {}
    assert "needs 64 MiB, has 1 MiB free" in decision.unplaceable[0].reason


def test_when_half_the_cluster_is_silent_at_once_the_brake_waits_one_lease_longer() -> None:
    state = world(
        [
            node("node-1", assignment("shop.web.1.a"), alive=False),
            node("node-2", alive=False),
            node("node-3"),
        ],
        [stack("shop", service())],
    )
    state = with_images(state)
    memory = at(10, state).memory
    assert manifests(at(10.6, state, memory)) == {}
    assert manifests(at(12.5, state, memory)) != {}


def test_a_changed_service_is_replaced_start_first_one_slot_at_a_time() -> None:
    old = [assignment(f"shop.web.{slot}.a", workload("app:1")) for slot in (1, 2)]
    state = world(
        [
            node("node-1", old[0], statuses=[running(old[0].id)]),
            node("node-2", old[1], statuses=[running(old[1].id)]),
            node("node-3"),
        ],
        [stack("shop", service(replicas=2, image="app:2"), generation=2)],
        rollouts=done(stack("shop", service(replicas=2, image="app:1"))),
    )
    written = manifests(at(0, state))
    fresh = [a for held in written.values() for a in held if a.workload.image == "app:2"]
    assert len(fresh) == 1
    assert all(a.want is Want.RUN for held in written.values() for a in held)


def test_the_old_allocation_drains_once_the_new_one_is_ready() -> None:
    old, new = assignment("shop.web.1.a", workload("app:1")), assignment("shop.web.1.b")
    new = msgspec.structs.replace(new, workload=workload("app:2"))
    state = world(
        [
            node("node-1", old, statuses=[running(old.id)]),
            node("node-2", new, statuses=[running(new.id)]),
        ],
        [stack("shop", service(image="app:2"), generation=2)],
    )
    assert manifests(at(0, state)) == {"node-1": (msgspec.structs.replace(old, want=Want.DRAIN),)}


def test_a_draining_allocation_leaves_only_after_every_living_gateway_has_acked() -> None:
    def state(acked: int) -> World:
        web = assignment("shop.web.1.a", workload(port=80), want=Want.DRAIN)
        return world(
            [
                node("node-1", web, statuses=[running(web.id)], acked={"shop": 1}),
                node("node-2", acked={"shop": acked}),
                node("node-3", alive=False),
            ],
            [],
            [served(EndpointState.DRAINING)],
        )

    assert manifests(at(0, state(acked=0))) == {}
    assert manifests(at(0, state(acked=1))) == {"node-1": ()}


def test_a_busy_gateway_holds_a_draining_allocation_back_but_not_for_ever() -> None:
    web = assignment("shop.web.1.a", workload(port=80), want=Want.DRAIN)
    home = node("node-1", web, statuses=[running(web.id)], acked={"shop": 1})
    assert home.report is not None
    busy = msgspec.structs.replace(
        home, report=msgspec.structs.replace(home.report, busy=(web.id,))
    )
    state = world([busy], [], [served(EndpointState.DRAINING)])
    first = at(0, state)
    assert manifests(first) == {}
    assert manifests(at(30, state, first.memory)) == {"node-1": ()}


def test_a_failed_slot_is_tried_again_after_its_backoff_on_another_node() -> None:
    web = assignment("shop.web.1.a", attempt=1)
    failed = AllocationStatus(id=web.id, state=AllocState.FAILED, reason="it exited with code 1")
    state = world(
        [node("node-1", web, statuses=[failed]), node("node-2", assignment("x.y.1.a"))],
        [stack("shop", service()), stack("x", service("y"))],
    )
    first = at(0, state)
    assert manifests(first) == {}
    assert first.plan.wake_in_s == retry_s(1)
    written = manifests(at(retry_s(1), state, first.memory))
    assert written["node-1"] == ()
    assert written["node-2"][0].attempt == 2


def test_a_failed_allocation_does_not_keep_its_own_retry_off_the_only_node() -> None:
    big = service(memory_bytes=16 * 1024 * MIB)
    web = assignment("shop.web.1.a", big.workload)
    failed = AllocationStatus(id=web.id, state=AllocState.FAILED, reason="it exited with code 1")
    state = world([node("node-1", web, statuses=[failed])], [stack("shop", big)])
    written = manifests(at(retry_s(0), state, at(0, state).memory))
    assert [a.attempt for a in written["node-1"]] == [1]


def test_a_removed_stack_drains_and_its_routes_go_last() -> None:
    state = lone(alive=True)
    removed = msgspec.structs.replace(state, stacks={})
    decision = at(0, removed)
    assert [a.want for a in manifests(decision)["node-1"]] == [Want.DRAIN]
    (after,) = routes(decision)
    assert after is not None
    assert after.services[0].endpoints[0].state is EndpointState.DRAINING
    empty = world([node("node-1")], [], [served(EndpointState.DRAINING)])
    assert routes(at(0, empty)) == [None]


def test_a_new_node_gets_an_empty_manifest() -> None:
    fresh = msgspec.structs.replace(node("node-1"), manifest=None, manifest_revision=Revision(0))
    assert manifests(at(0, world([fresh]))) == {"node-1": ()}


def test_an_unreadable_manifest_stops_every_change() -> None:
    state = msgspec.structs.replace(
        lone(alive=False), unreadable={keys.desired(NodeName("node-9")): "not JSON"}
    )
    assert at(99, state, at(0, state).memory).plan.writes == ()


def test_an_unreadable_stack_keeps_what_it_runs() -> None:
    state = msgspec.structs.replace(
        lone(alive=True), stacks={}, unreadable={keys.stack(StackName("shop")): "not JSON"}
    )
    assert at(0, state).plan.writes == ()


def test_an_unhealthy_replica_is_no_endpoint() -> None:
    web = assignment("shop.web.1.a", workload(port=80))
    sick = msgspec.structs.replace(running(web.id), health=Health.UNHEALTHY)
    state = world([node("node-1", web, statuses=[sick])], [stack("shop", service(port=80))])
    (after,) = routes(at(0, state))
    assert after is not None
    assert after.services[0].endpoints == ()


def test_a_wait_is_never_shorter_than_a_clock_can_tell() -> None:
    web = assignment("shop.web.1.a", workload(port=80), want=Want.DRAIN)
    state = world(
        [node("node-1", web, statuses=[running(web.id)])], [], [served(EndpointState.READY)]
    )
    began, limit_s = 1e6, web.workload.stop_grace_period_s
    memory = at(began, state).memory
    now = began + limit_s
    for _ in range(100):  # the last moments before the limit, as finely as a clock has them
        if not at(now, state, memory).plan.writes:
            break
        now = math.nextafter(now, 0)
    assert now + at(now, state, memory).plan.wake_in_s > now + 1e-6
