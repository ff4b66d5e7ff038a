"""Standbys that fail, wait for nobody, or are too many; and nodes that are on probation."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from scheduler.changes import retry_s
from scheduler.decide import Decision, decide
from scheduler.memory import Memory
from scheduler.nodes import History
from scheduler.story import Now
from scheduler.world import NodeState, World
from shared.model import (
    AllocationStatus,
    AllocId,
    Assignment,
    Constraint,
    Health,
    Manifest,
    NodeName,
    ServiceSpec,
    Want,
)
from shared.states import AllocState
from shared.timing import LAN
from tests.build import assignment, node, running, service, stack, world

HOME, FAILED = "shop.web.1.a", "shop.web.0.s"


def at(now: float, state: World, memory: Memory | None = None) -> Decision:
    return decide(state, memory or Memory(), Now(now, 0.0), LAN)


def spec_with(standby: int = 1) -> ServiceSpec:
    return msgspec.structs.replace(service(), standby=standby)


def standby(id_: str, *, attempt: int = 0) -> Assignment:
    held = assignment(id_, spec_with().workload, want=Want.STANDBY, attempt=attempt)
    return msgspec.structs.replace(held, epoch=9)


def status(id_: str, state: AllocState, reason: str = "") -> AllocationStatus:
    return msgspec.structs.replace(running(id_), state=state, health=Health.STARTING, reason=reason)


def held(decision: Decision) -> dict[str, list[tuple[str, Want, int]]]:
    return {
        write.record.node: [(a.id, a.want, a.attempt) for a in write.record.assignments]
        for write in decision.plan.writes
        if isinstance(write.record, Manifest)
    }


def home() -> NodeState:
    return node("node-1", assignment(HOME), statuses=[running(HOME)])


def with_failed(attempt: int, *others: NodeState) -> World:
    broken = node(
        "node-2",
        standby(FAILED, attempt=attempt),
        statuses=[status(FAILED, AllocState.FAILED, "no such image")],
    )
    return world([home(), broken, *others], [stack("shop", spec_with())])


@given(st.integers(0, 9))
def test_a_standby_that_failed_is_made_elsewhere_after_its_backoff(attempt: int) -> None:
    state = with_failed(attempt, node("node-3"))
    first = at(100.0, state)
    assert not any(want is Want.STANDBY for all_ in held(first).values() for _, want, _ in all_)
    assert first.plan.wake_in_s <= retry_s(attempt)
    then = at(100.0 + retry_s(attempt), state, first.memory)
    ((_, want, again),) = held(then)["node-3"]
    assert (want, again) == (Want.STANDBY, attempt + 1)
    assert held(then)["node-2"] == []


def test_a_standby_that_failed_is_made_again_where_there_is_nowhere_else() -> None:
    first = at(100.0, with_failed(0))
    then = at(101.0, with_failed(0), first.memory)
    ((id_, want, again),) = held(then)["node-2"]
    assert (want, again) == (Want.STANDBY, 1)
    assert id_ != FAILED


def test_a_standby_that_failed_does_not_take_over() -> None:
    state = with_failed(0, node("node-3"))
    nodes = {**state.nodes, NodeName("node-1"): msgspec.structs.replace(home(), alive=False)}
    lost = msgspec.structs.replace(state, nodes=nodes)
    memory = Memory(nodes=History(missing_since={NodeName("node-1"): 0.0}))
    after = held(at(100.0, lost, memory))
    running_after = [id_ for each in after.values() for id_, want, _ in each if want is Want.RUN]
    assert len(running_after) == 1
    assert FAILED not in running_after


def test_once_there_are_enough_others_a_failed_standby_is_forgotten() -> None:
    good = AllocId("shop.web.0.t")
    spare = node("node-3", standby(good), statuses=[status(good, AllocState.PREPARING)])
    assert held(at(100.0, with_failed(0, spare)))["node-2"] == []


def test_a_standby_is_not_made_before_its_service_runs() -> None:
    starting = node("node-1", assignment(HOME), statuses=[status(HOME, AllocState.PREPARING)])
    state = world([starting, node("node-2")], [stack("shop", spec_with())])
    assert not any(want is Want.STANDBY for a in held(at(0.0, state)).values() for _, want, _ in a)


def on_probation(name: str) -> Memory:
    node_name = NodeName(name)
    return Memory(nodes=History(losses={node_name: (98.0, 99.0)}, back_since={node_name: 99.5}))


def test_a_node_on_probation_keeps_what_it_has_and_gets_nothing_new() -> None:
    spec = service(replicas=4)
    state = world([home(), node("node-2"), node("node-3")], [stack("shop", spec)])
    after = held(at(100.0, state, on_probation("node-1")))
    assert "node-1" not in after or [id_ for id_, *_ in after["node-1"]] == [HOME]
    assert sum(len(all_) for name, all_ in after.items() if name != "node-1") == 3


def test_who_finds_no_node_but_one_on_probation_is_told_so_with_numbers() -> None:
    only = msgspec.structs.replace(
        spec_with(0),
        placement=msgspec.structs.replace(
            service().placement, constraints=(Constraint(key="disk", value="ssd"),)
        ),
    )
    labelled = node("node-1")
    labelled = msgspec.structs.replace(
        labelled, spec=msgspec.structs.replace(labelled.spec, labels={"disk": "ssd"})
    )
    state = world([labelled, node("node-2"), node("node-3")], [stack("shop", only)])
    (refused,) = at(100.0, state, on_probation("node-1")).unplaceable
    said = " ".join(str(each) for each in refused.refusals)
    assert "came back 0 s ago after 2 losses in 5 min, takes new work in 2 s" in said
