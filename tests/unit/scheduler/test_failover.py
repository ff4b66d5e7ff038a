"""What becomes of a slot whose node is unreachable: replacement, standby, return, exclusiveness."""

import msgspec

from scheduler.decide import Decision, decide
from scheduler.memory import Memory
from scheduler.story import Now
from scheduler.world import NodeState, World
from shared.model import (
    AllocationStatus,
    Assignment,
    Health,
    Manifest,
    NodeName,
    ServiceName,
    ServiceSpec,
    Silence,
    StackName,
    Want,
)
from shared.states import AllocState
from shared.timing import LAN
from tests.build import assignment, node, running, service, stack, world

OLD, NEW = "shop.web.1.old", "shop.web.1.new"


def at(state: World) -> Decision:
    return decide(state, Memory(), Now(0.0, 0.0), LAN)


def held(decision: Decision) -> dict[str, list[tuple[str, Want, int]]]:
    return {
        write.record.node: [(a.id, a.want, a.slot) for a in write.record.assignments]
        for write in decision.plan.writes
        if isinstance(write.record, Manifest)
    }


def placed(id_: str, spec: ServiceSpec, epoch: int, want: Want = Want.RUN) -> Assignment:
    made = assignment(id_, spec.workload, want=want)
    return msgspec.structs.replace(made, epoch=epoch)


def prepared(id_: str) -> AllocationStatus:
    status = running(id_)
    return msgspec.structs.replace(status, state=AllocState.PREPARING, health=Health.STARTING)


def unreachable(state: NodeState) -> NodeState:
    peers = {NodeName("node-2"): Silence.HOST, NodeName("node-3"): Silence.HOST}
    return msgspec.structs.replace(state, suspected_by=peers)


def test_an_unreachable_node_s_slot_is_filled_elsewhere_and_stays_in_its_manifest() -> None:
    spec = service()
    home = node("node-1", placed(OLD, spec, 5), statuses=[running(OLD)])
    state = world(
        [unreachable(home), node("node-2"), node("node-3")], [stack("shop", spec)], revision=100
    )
    decision = at(state)
    fresh = [
        a
        for write in decision.plan.writes
        if isinstance(write.record, Manifest)
        for a in write.record.assignments
    ]
    assert "node-1" not in held(decision)
    assert [(a.slot, a.want, a.epoch) for a in fresh] == [(1, Want.RUN, 100)]
    assert {event.kind for event in decision.plan.events} == {"node_unreachable", "placed"}


def surplus(*, restarts: int) -> list[str]:
    """Return which of two ready copies goes, the older of which was out of reach meanwhile."""
    spec = service()
    old = node("node-1", placed(OLD, spec, 5), statuses=[running(OLD)])
    new = node("node-2", placed(NEW, spec, 9), statuses=[running(NEW)])
    shop, third = [stack("shop", spec)], node("node-3")
    before = decide(world([old, node("node-2"), third], shop), Memory(), Now(0.0, 0.0), LAN)
    away = world([unreachable(old), new, third], shop)
    then = decide(away, before.memory, Now(10.0, 10.0), LAN)
    again = msgspec.structs.replace(running(OLD), restarts=restarts)
    back = node("node-1", placed(OLD, spec, 5), statuses=[again])
    found = held(decide(world([back, new, third], shop), then.memory, Now(40.0, 40.0), LAN))
    return [id_ for each in found.values() for id_, want, _ in each if want is Want.DRAIN]


def test_when_it_is_seen_again_the_one_that_was_ready_for_longer_stays() -> None:
    assert surplus(restarts=0) == [NEW]
    assert surplus(restarts=1) == [OLD]


def test_a_leader_that_has_just_begun_takes_the_older_of_two_ready_ones() -> None:
    spec = service()
    state = world(
        [
            node("node-1", placed(NEW, spec, 9), statuses=[running(NEW)]),
            node("node-2", placed(OLD, spec, 5), statuses=[running(OLD)]),
        ],
        [stack("shop", spec)],
    )
    assert held(at(state))["node-1"] == [(NEW, Want.DRAIN, 1)]


def with_standby(*, exclusive: bool, run_epoch: int, standby_epoch: int) -> World:
    spec = msgspec.structs.replace(service(), standby=1)
    spec = msgspec.structs.replace(
        spec, workload=msgspec.structs.replace(spec.workload, exclusive=exclusive)
    )
    spare = placed("shop.web.0.s", spec, standby_epoch, Want.STANDBY)
    home = node("node-1", placed(OLD, spec, run_epoch), statuses=[running(OLD)])
    return world(
        [
            unreachable(home),
            node("node-2", spare, statuses=[prepared(spare.id)]),
            node("node-3"),
        ],
        [stack("shop", spec)],
    )


def test_a_prepared_standby_takes_the_slot_in_one_write() -> None:
    decision = at(with_standby(exclusive=False, run_epoch=9, standby_epoch=5))
    assert held(decision)["node-2"] == [("shop.web.0.s", Want.RUN, 1)]
    assert [event.kind for event in decision.plan.events] == ["node_unreachable", "activated"]


def test_of_an_exclusive_slot_only_a_younger_standby_may_take_over() -> None:
    younger = at(with_standby(exclusive=True, run_epoch=5, standby_epoch=9))
    assert held(younger)["node-2"] == [("shop.web.0.s", Want.RUN, 1)]
    older = [
        a
        for found in held(at(with_standby(exclusive=True, run_epoch=9, standby_epoch=5))).values()
        for a in found
    ]
    assert "shop.web.0.s" not in [id_ for id_, _, _ in older]
    assert [(want, slot) for _, want, slot in older] == [(Want.RUN, 1)]


def test_of_two_exclusive_copies_the_one_that_ran_last_stays_whatever_the_other_says() -> None:
    spec = service()
    spec = msgspec.structs.replace(
        spec, workload=msgspec.structs.replace(spec.workload, exclusive=True)
    )
    state = world(
        [
            node("node-1", placed(OLD, spec, 5), statuses=[running(OLD)]),
            node("node-2", placed(NEW, spec, 9), statuses=[prepared(NEW)]),
        ],
        [stack("shop", spec)],
    )
    slot = StackName("shop"), ServiceName("web"), 1
    assert held(at(state))["node-2"] == [(NEW, Want.DRAIN, 1)]
    newer_ran = msgspec.structs.replace(state, epochs={slot: 9})
    assert held(at(newer_ran))["node-1"] == [(OLD, Want.DRAIN, 1)]


def test_an_exclusive_update_lets_the_old_one_go_once_the_new_one_is_made() -> None:
    spec = service(image="app:2")
    spec = msgspec.structs.replace(
        spec, workload=msgspec.structs.replace(spec.workload, exclusive=True)
    )
    before = msgspec.structs.replace(spec, workload=service().workload)

    def state(status: AllocationStatus) -> World:
        return world(
            [
                node("node-1", placed(OLD, before, 5), statuses=[running(OLD)]),
                node("node-2", placed(NEW, spec, 9), statuses=[status]),
            ],
            [stack("shop", spec)],
        )

    made = prepared(NEW)
    unmade = held(at(state(msgspec.structs.replace(made, address=""))))
    assert unmade.get("node-1", [(OLD, Want.RUN, 1)]) == [(OLD, Want.RUN, 1)]
    assert held(at(state(made)))["node-1"] == [(OLD, Want.DRAIN, 1)]


def test_a_copy_that_a_newer_one_has_outrun_leaves_before_its_node_gets_the_next_one() -> None:
    spec = msgspec.structs.replace(
        service(), workload=msgspec.structs.replace(service().workload, exclusive=True)
    )
    home = node("node-1", placed(OLD, spec, 5), statuses=[prepared(OLD)])
    state = msgspec.structs.replace(
        world([home], [stack("shop", spec)], revision=100),
        epochs={(StackName("shop"), spec.name, 1): 7},
    )
    found = held(at(state))["node-1"]
    assert [(want, slot) for _, want, slot in found] == [(Want.RUN, 1), (Want.DRAIN, 1)]
