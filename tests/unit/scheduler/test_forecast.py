"""What would happen, against what does happen on a cluster that obeys."""

from collections.abc import Callable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.forecast import Forecast, Start, forecast
from scheduler.nodes import History
from scheduler.rehearsal import Scene, after_a_pass
from scheduler.story import Now
from scheduler.world import StackState, World
from shared.api import Move, SlotStep
from shared.model import (
    Claim,
    Dependency,
    DependsOn,
    Mode,
    NodeName,
    Placement,
    Resources,
    Revision,
    ServiceName,
    ServiceSpec,
    Stack,
    StackName,
    UpdatePolicy,
    Want,
)
from shared.states import AllocState
from shared.timing import LAN
from tests.build import MIB, node, service, stack, world

WEB, NOW = ServiceName("web"), Now(100.0, 1000.0)
SMALL = Resources(cpu_millis=1000, memory_bytes=300 * MIB)
SERVICES = st.lists(
    st.builds(
        service,
        st.sampled_from(["web", "db"]),
        replicas=st.integers(0, 4),
        image=st.sampled_from(["app:1", "app:2"]),
        port=st.sampled_from([0, 8080]),
    ),
    min_size=1,
    unique_by=lambda each: each.name,
)


def never() -> bool:
    return False


def after(passes: int) -> Callable[[], bool]:
    left = iter(range(passes))
    return lambda: next(left, None) is None


def empty(nodes: int = 3, capacity: Resources = SMALL) -> World:
    return world([node(f"node-{number}", capacity=capacity) for number in range(1, nodes + 1)])


def seen(state: World, wanted: Stack, is_over: Callable[[], bool] = never) -> Forecast:
    return forecast(Start(state, History(), NOW), wanted, LAN, is_over)


def running(state: World, wanted: Stack) -> World:
    """Return the world once `wanted` is deployed and nothing is left to do."""
    stacks = {**state.stacks, wanted.name: StackState(wanted, Revision(state.revision + 1))}
    scene = Scene(
        world=msgspec.structs.replace(state, stacks=stacks, revision=Revision(state.revision + 1)),
        now=NOW,
    )
    quiet = 0
    for _ in range(600):
        scene = after_a_pass(scene, LAN)
        quiet = 0 if scene.wrote else quiet + 1
        if quiet > 12:
            return scene.world
    raise AssertionError("it never settles")


def slots(state: World) -> dict[tuple[str, int], str]:
    return {
        (one.service, one.slot): name
        for name, each in state.nodes.items()
        for one in each.assignments
        if one.want is Want.RUN
    }


@settings(max_examples=40)
@given(SERVICES)
def test_a_new_stack_goes_where_the_forecast_says(specs: list[ServiceSpec]) -> None:
    wanted = stack("shop", *specs)
    found = seen(empty(), wanted)

    assert {(one.service, one.slot): one.node for one in found.steps} == slots(
        running(empty(), wanted)
    )
    assert {one.move for one in found.steps} <= {Move.START}
    assert (found.more, found.refusals, found.warnings) == (0, (), ())


@settings(max_examples=25)
@given(SERVICES, SERVICES)
def test_a_change_touches_exactly_the_slots_that_it_must(
    first: list[ServiceSpec], then: list[ServiceSpec]
) -> None:
    before = running(empty(), stack("shop", *first))
    wanted = stack("shop", *then, generation=2)
    found = seen(before, wanted)

    old, new = ({one.name: one for one in side} for side in (first, then))
    expected = {
        (name, slot)
        for name in {*old, *new}
        for slot in range(1, 5)
        if _has(old.get(name), slot) != _has(new.get(name), slot)
        or (
            _has(old.get(name), slot)
            and _has(new.get(name), slot)
            and old[name].workload != new[name].workload
        )
    }
    assert {(one.service, one.slot) for one in found.steps} == expected
    assert slots(running(before, wanted)).keys() == {
        (one.name, slot) for one in then for slot in range(1, one.replicas + 1)
    }


def _has(spec: ServiceSpec | None, slot: int) -> bool:
    return spec is not None and slot <= spec.replicas


@settings(max_examples=25)
@given(SERVICES)
def test_what_runs_already_needs_nothing(specs: list[ServiceSpec]) -> None:
    wanted = stack("shop", *specs)

    assert seen(running(empty(), wanted), wanted) == Forecast()


def test_a_replica_that_is_replaced_is_named_with_both_nodes() -> None:
    before = running(empty(1), stack("shop", service()))
    (old,) = before.nodes[NodeName("node-1")].assignments
    found = seen(before, stack("shop", service(image="app:2"), generation=2))

    assert found.steps == (
        SlotStep(
            service=WEB,
            slot=1,
            move=Move.REPLACE,
            node=NodeName("node-1"),
            allocation=old.id,
            from_node=NodeName("node-1"),
        ),
    )


def test_a_slot_that_no_node_takes_is_a_refusal_with_numbers() -> None:
    found = seen(empty(2), stack("shop", service(replicas=3, memory_bytes=200 * MIB)))

    assert [one.slot for one in found.steps] == [1, 2]
    assert found.refusals == (
        (
            "web 3: no node fits: node-1: memory: needs 200 MiB, has 100 MiB free of 300 MiB; "
            "node-2: memory: needs 200 MiB, has 100 MiB free of 300 MiB"
        ),
    )


def test_an_update_that_has_no_room_for_two_at_a_time_is_refused_beforehand() -> None:
    before = running(empty(1), stack("shop", service(memory_bytes=200 * MIB)))
    bigger = service(image="app:2", memory_bytes=200 * MIB)
    found = seen(before, stack("shop", bigger, generation=2))

    assert found.steps == ()
    assert len(found.refusals) == 1
    assert "web" in found.refusals[0]
    assert "needs 200 MiB, has 100 MiB free of 300 MiB" in found.refusals[0]


def test_a_standby_without_a_node_is_only_a_warning() -> None:
    found = seen(empty(1), stack("shop", msgspec.structs.replace(service(), standby=1)))

    assert found.refusals == ()
    assert found.warnings == ("web standby: no node fits: node-1: has a copy of it already",)


def test_what_was_not_played_is_counted() -> None:
    before = running(empty(), stack("shop", service(replicas=6)))
    wanted = stack("shop", service(replicas=6, image="app:2"), generation=2)
    short, whole = seen(before, wanted, after(5)), seen(before, wanted)

    assert (len(whole.steps), whole.more) == (6, 0)
    assert 0 < len(short.steps) < 6
    assert short.more >= 6 - len(short.steps)
    assert short.refusals == ()


def test_another_stacks_troubles_are_not_this_ones() -> None:
    full = stack("blog", service("front", replicas=9, memory_bytes=200 * MIB))
    crowded = msgspec.structs.replace(empty(), stacks={full.name: StackState(full, Revision(2))})
    found = seen(crowded, stack("shop", service()))

    assert [one.service for one in found.steps] == [WEB]
    assert found.refusals == ()


def test_a_replica_on_a_host_that_is_gone_comes_elsewhere() -> None:
    before = running(empty(2), stack("shop", service()))
    (home,) = slots(before).values()
    nodes = dict(before.nodes)
    nodes[NodeName(home)] = msgspec.structs.replace(nodes[NodeName(home)], alive=False)
    found = seen(msgspec.structs.replace(before, nodes=nodes), stack("shop", service()))

    assert [(one.move, one.from_node) for one in found.steps] == [(Move.REPLACE, home)]
    assert found.steps[0].node != home


def test_exclusive_work_is_played_to_the_end_with_its_claims() -> None:
    spec = service()
    workload = msgspec.structs.replace(spec.workload, exclusive=True)
    one = msgspec.structs.replace(spec, workload=workload)
    two = msgspec.structs.replace(one, workload=msgspec.structs.replace(workload, image="app:2"))
    before = running(empty(2), stack("shop", one))
    (held,) = [a for each in before.nodes.values() for a in each.assignments]
    found = seen(before, stack("shop", two, generation=2))

    assert before.claims == {
        (StackName("shop"), WEB, 1): Claim(
            node=NodeName(slots(before)["web", 1]), allocation=held.id, epoch=held.epoch
        )
    }
    assert [(step.move, step.allocation) for step in found.steps] == [(Move.REPLACE, held.id)]
    after_it = running(before, stack("shop", two, generation=2))
    (new,) = [a for each in after_it.nodes.values() for a in each.assignments]
    assert after_it.claims[StackName("shop"), WEB, 1].allocation == new.id


def test_a_host_that_does_not_answer_does_nothing() -> None:
    wanted = stack("shop", service(replicas=2, placement=Placement(max_replicas_per_node=1)))
    state = empty(2)
    nodes = dict(state.nodes)
    nodes[NodeName("node-2")] = node("node-2", alive=False)
    played = running(msgspec.structs.replace(state, nodes=nodes), wanted)

    assert slots(played) in ({("web", 1): "node-1"}, {("web", 2): "node-1"})
    report = played.nodes[NodeName("node-1")].report
    assert report is not None
    assert [status.state for status in report.allocations] == [AllocState.RUNNING]


def updated(spec: ServiceSpec, policy: UpdatePolicy) -> ServiceSpec:
    newer = msgspec.structs.replace(spec.workload, image="app:2")
    return msgspec.structs.replace(spec, workload=newer, update=policy)


def test_a_canary_is_as_far_as_a_forecast_goes() -> None:
    before = running(empty(), stack("shop", service(replicas=3)))
    wanted = updated(service(replicas=3), UpdatePolicy(canary=1))
    found = seen(before, stack("shop", wanted, generation=2))

    assert [one.slot for one in found.steps] == [1]
    assert (found.more, found.refusals) == (0, ())
    assert found.warnings == (
        (
            "web: stops once the canary is well; `hafen promote` or `hafen abort` then says how it "
            "goes on"
        ),
    )


def test_a_slow_update_is_played_to_its_end() -> None:
    before = running(empty(), stack("shop", service(replicas=3)))
    wanted = updated(service(replicas=3), UpdatePolicy(delay_s=45.0, monitor_s=20.0))
    found = seen(before, stack("shop", wanted, generation=2))

    assert ([one.slot for one in found.steps], found.more) == ([1, 2, 3], 0)


def test_dependencies_come_first_and_a_job_is_played_to_its_end() -> None:
    job = msgspec.structs.replace(service("setup"), mode=Mode.REPLICATED_JOB)
    needs = Dependency(service=ServiceName("setup"), condition=DependsOn.COMPLETED)
    web = msgspec.structs.replace(service(), depends_on=(needs,))
    found = seen(empty(), stack("shop", web, job))

    assert [(one.service, one.move) for one in found.steps] == [
        ("setup", Move.START),
        ("web", Move.START),
    ]
    assert (found.refusals, found.warnings) == ((), ())


def test_what_waits_for_a_service_that_is_stopped_says_so() -> None:
    stopped = msgspec.structs.replace(service("db"), is_stopped=True)
    needs = Dependency(service=ServiceName("db"))
    web = msgspec.structs.replace(service(), depends_on=(needs,))
    found = seen(empty(), stack("shop", web, stopped))

    assert found.steps == ()
    assert found.warnings == ("web: waits for db: it is stopped",)


def test_a_global_service_goes_to_every_node() -> None:
    everywhere = msgspec.structs.replace(service(), mode=Mode.GLOBAL)
    found = seen(empty(), stack("shop", everywhere))

    assert sorted(one.node for one in found.steps) == ["node-1", "node-2", "node-3"]
