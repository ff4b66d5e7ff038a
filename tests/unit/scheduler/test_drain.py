"""Nodes that are cordoned, drained and let work again: what moves, what stays, and why."""

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scheduler.decide import Decision
from shared.model import (
    AllocationStatus,
    Assignment,
    Availability,
    Constraint,
    Mode,
    NodeName,
    Order,
    Placement,
    RolloutPhase,
    ServiceSpec,
    UpdatePolicy,
    Want,
)
from shared.states import AllocState
from tests.build import AT_ONCE, GIB, service
from tests.unit.scheduler.shops import Shop, ended, job, well, with_volume
from tests.unit.scheduler.test_decide_settles import SERVICES, at

DRAINING, CORDONED, ACTIVE = Availability.DRAINING, Availability.CORDONED, Availability.ACTIVE


def allow(shop: Shop, name: str, availability: Availability) -> None:
    spec = msgspec.structs.replace(shop.world.nodes[NodeName(name)].spec, availability=availability)
    shop.set_node(name, spec=spec)


def stop_first(spec: ServiceSpec) -> ServiceSpec:
    update = msgspec.structs.replace(AT_ONCE, order=Order.STOP_FIRST)
    return msgspec.structs.replace(spec, update=update)


def exclusive(spec: ServiceSpec) -> ServiceSpec:
    workload = msgspec.structs.replace(spec.workload, exclusive=True)
    return msgspec.structs.replace(spec, workload=workload)


def decided(shop: Shop) -> Decision:
    return at(shop.now, shop.world, shop.memory)


@settings(max_examples=40)
@given(SERVICES, st.integers(1, 3))
def test_a_drained_node_becomes_empty_and_nobody_is_without_a_ready_copy(
    specs: list[ServiceSpec], number: int
) -> None:
    shop = Shop(*specs)
    shop.rest()
    shop.settle()
    drained = f"node-{number}"
    ready = {spec.name: len(shop.routed(spec.name)) for spec in specs if spec.workload.ports}
    allow(shop, drained, DRAINING)
    for _ in range(60):
        shop.step()
        for spec in specs:
            if spec.workload.ports and not spec.workload.exclusive:
                assert len(shop.routed(spec.name)) >= ready[spec.name]
    assert shop.world.nodes[NodeName(drained)].assignments == ()
    for spec in specs:
        slots = [a.slot for a in shop.held(spec.name) if a.want is Want.RUN]
        assert slots == list(range(1, spec.replicas + 1))
    assert not decided(shop).plan.writes


@settings(max_examples=30)
@given(SERVICES, st.sampled_from([CORDONED, DRAINING]))
def test_what_is_not_let_work_gets_nothing_new_and_what_has_left_does_not_come_back(
    specs: list[ServiceSpec], word: Availability
) -> None:
    shop = Shop()
    allow(shop, "node-1", word)
    shop.ask(*specs)
    shop.settle()
    assert shop.world.nodes[NodeName("node-1")].assignments == ()
    before = {spec.name: shop.homes(spec.name) for spec in specs if not spec.standby}
    allow(shop, "node-1", ACTIVE)
    shop.settle()
    assert before == {name: shop.homes(name) for name in before}


def test_a_cordoned_node_keeps_what_it_has() -> None:
    shop = Shop(service(replicas=3))
    shop.rest()
    allow(shop, "node-2", CORDONED)
    shop.steps(20)
    assert shop.homes() == ["node-1", "node-2", "node-3"]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (stop_first(service(memory_bytes=10 * GIB)), "memory: needs 10240 MiB, has 6144 MiB free"),
        (service(memory_bytes=10 * GIB), "memory: needs 10240 MiB, has 6144 MiB free"),
        (
            exclusive(service(memory_bytes=10 * GIB)),
            "memory: needs 10240 MiB, has 6144 MiB free",
        ),
    ],
)
def test_what_has_no_room_elsewhere_runs_on_and_it_is_said_with_numbers(
    spec: ServiceSpec, why: str
) -> None:
    shop = Shop(spec, service("big", replicas=2, memory_bytes=10 * GIB), nodes=3)
    shop.rest()
    (home,) = shop.homes()
    allow(shop, home, DRAINING)
    (before,) = shop.held()
    shop.steps(30)
    assert shop.held() == [before]
    if spec.workload.ports:
        assert shop.routed() == {before.id}
    (left,) = decided(shop).unplaceable
    assert why in left.reason
    assert f"{home}: is draining" in left.reason


@pytest.mark.parametrize("word", [CORDONED, DRAINING])
def test_the_data_of_a_volume_keeps_its_service_where_it_is_running(word: Availability) -> None:
    shop = Shop(with_volume(service(), "shop_data"))
    shop.rest()
    (home,), (before,) = shop.homes(), shop.held()
    allow(shop, home, word)
    # A new version would have to begin on the very node that takes nothing: the old one runs on.
    shop.ask(with_volume(service(image="app:2"), "shop_data"))
    shop.steps(30)
    assert shop.held() == [before]
    assert f"{home}: is {word.value}" in decided(shop).unplaceable[0].reason
    allow(shop, home, ACTIVE)
    shop.rest()
    assert shop.homes() == [home]
    assert {a.workload.image for a in shop.held()} == {"app:2"}


def test_a_copy_that_labels_drive_away_ends_only_if_another_node_takes_it() -> None:
    where = Placement(constraints=(Constraint(key="node.labels.disk", value="ssd"),))
    shop = Shop(nodes=2)
    spec = shop.world.nodes[NodeName("node-1")].spec
    shop.set_node("node-1", spec=msgspec.structs.replace(spec, labels={"disk": "ssd"}))
    shop.ask(msgspec.structs.replace(stop_first(service()), placement=where))
    shop.rest()
    (before,) = shop.held()
    shop.set_node("node-1", spec=spec)
    shop.steps(20)
    assert shop.held() == [before]
    other = shop.world.nodes[NodeName("node-2")].spec
    shop.set_node("node-2", spec=msgspec.structs.replace(other, labels={"disk": "ssd"}))
    shop.steps(20)
    assert shop.homes() == ["node-2"]


def test_a_copy_of_a_global_service_ends_with_the_drain_and_comes_back_after_it() -> None:
    shop = Shop(msgspec.structs.replace(service(port=8080), mode=Mode.GLOBAL))
    shop.rest()
    allow(shop, "node-2", DRAINING)
    shop.steps(20)
    assert shop.homes() == ["node-1", "node-3"]
    allow(shop, "node-2", ACTIVE)
    shop.rest()
    assert shop.homes() == ["node-1", "node-2", "node-3"]


def test_a_job_runs_to_its_end_where_it_is_and_is_not_begun_again() -> None:
    def slow(held: Assignment, age_s: float) -> AllocationStatus:
        return ended(held, AllocState.COMPLETE, 0) if age_s > 30 else well(held, age_s)

    shop = Shop(job(), manner=slow)
    shop.steps(3)
    (home,), (before,) = shop.homes("job"), shop.held("job")
    allow(shop, home, DRAINING)
    shop.steps(20)
    assert shop.held("job") == [before]
    assert shop.phase("job") is RolloutPhase.DONE
    # Its node is removed, and with it the record that it has ended.
    nodes = {name: one for name, one in shop.world.nodes.items() if name != home}
    shop.world = msgspec.structs.replace(shop.world, nodes=nodes)
    shop.steps(10)
    assert shop.held("job") == []


def test_a_drain_in_the_middle_of_an_update_leaves_each_slot_with_the_version_of_its_turn() -> None:
    policy = UpdatePolicy(monitor_s=5, parallelism=1)
    first = msgspec.structs.replace(service(replicas=3, port=8080), update=policy)
    shop = Shop(first)
    shop.rest()
    new = msgspec.structs.replace(service(image="app:2", replicas=3, port=8080), update=policy)
    shop.ask(new)
    shop.steps(3)
    allow(shop, "node-2", DRAINING)
    for _ in range(60):
        shop.step()
        assert len(shop.routed()) >= 3
    shop.rest()
    assert "node-2" not in shop.homes()
    assert [a.workload.image for a in shop.held()] == ["app:2"] * 3
    assert shop.phase() is RolloutPhase.DONE


def test_copies_that_leave_a_drained_node_do_not_count_where_the_service_is_spread() -> None:
    spread = Placement(spread=("node.labels.zone",))
    shop = Shop(nodes=4)
    for number, zone in enumerate("aabb", 1):
        name = f"node-{number}"
        spec = msgspec.structs.replace(shop.world.nodes[NodeName(name)].spec, labels={"zone": zone})
        shop.set_node(name, spec=spec)
    shop.ask(msgspec.structs.replace(service(replicas=2), placement=spread))
    shop.rest()
    kept, drained = shop.homes()
    twin = {"node-3": "node-4", "node-4": "node-3"}[drained]
    allow(shop, drained, DRAINING)
    shop.steps(20)
    assert shop.homes() == [kept, twin]


def test_what_people_say_of_a_node_is_in_the_clusters_story() -> None:
    shop = Shop(service())
    shop.rest()
    kinds = []
    for word in (CORDONED, DRAINING, ACTIVE):
        allow(shop, "node-3", word)
        kinds += [event.kind for event in decided(shop).plan.events if event.subject == "node-3"]
        shop.step()
    assert kinds == ["node_cordoned", "node_draining", "node_uncordoned"]


def claimed(shop: Shop) -> None:
    """Let exclusive copies wait, made, until none before them is left of their slot."""

    def manner(held: Assignment, age_s: float) -> AllocationStatus:
        slot = [a for a in shop.held(held.service) if a.slot == held.slot]
        if held.workload.exclusive and any(a.epoch < held.epoch for a in slot):
            return AllocationStatus(id=held.id, state=AllocState.PREPARING, address="192.0.2.9")
        return well(held, age_s)

    shop.manner = manner


def paced(spec: ServiceSpec, order: Order | None, parallelism: int) -> ServiceSpec:
    update = msgspec.structs.replace(AT_ONCE, order=order, parallelism=parallelism)
    return msgspec.structs.replace(spec, update=update)


def away(shop: Shop, spec: ServiceSpec) -> int:
    """Return how many of a service's slots have no copy that is ready and stays."""
    ready = {
        status.id
        for node in shop.world.nodes.values()
        for status in (node.report.allocations if node.report is not None else ())
        if status.state is AllocState.RUNNING
    }
    held = shop.held(spec.name)
    return spec.replicas - len({a.slot for a in held if a.want is Want.RUN and a.id in ready})


PACED = st.builds(
    lambda spec, order, parallelism, alone: paced(
        exclusive(spec) if alone else spec, order, parallelism
    ),
    st.builds(service, replicas=st.integers(1, 5), port=st.sampled_from([0, 8080])),
    st.sampled_from([None, Order.STOP_FIRST, Order.START_FIRST]),
    st.integers(0, 3),
    st.booleans(),
)
EVENTS = st.lists(
    st.tuples(st.sampled_from([DRAINING, CORDONED, ACTIVE, "update", "wait"]), st.integers(1, 4)),
    max_size=8,
)


@settings(max_examples=60)
@given(PACED, EVENTS)
@example(
    paced(exclusive(service(replicas=2)), None, 1), [("update", 1), (DRAINING, 4), ("update", 1)]
)
def test_whatever_is_drained_when_no_more_copies_are_away_than_an_update_may_take(
    spec: ServiceSpec, events: list[tuple[Availability | str, int]]
) -> None:
    shop = Shop(spec, nodes=4)
    claimed(shop)
    shop.rest()
    most = spec.update.parallelism or spec.replicas
    for number, (what, node) in enumerate([*events, (ACTIVE, 1), ("wait", 0), (DRAINING, 2)], 2):
        if isinstance(what, Availability):
            allow(shop, f"node-{node}", what)
        elif what == "update":
            workload = msgspec.structs.replace(spec.workload, image=f"app:{number}")
            spec = msgspec.structs.replace(spec, workload=workload)
            shop.ask(spec, generation=number)
        for _ in range(node):
            shop.step()
            assert away(shop, spec) <= most
    for _ in range(100):
        shop.step()
        assert away(shop, spec) <= most
    assert shop.world.nodes[NodeName("node-2")].assignments == ()
    assert away(shop, spec) == 0


@pytest.mark.parametrize(("parallelism", "most"), [(1, 1), (2, 2), (0, 4)])
@pytest.mark.parametrize("alone", [False, True])
def test_of_copies_that_end_before_the_next_ones_serve_a_few_go_at_a_time(
    parallelism: int, most: int, *, alone: bool
) -> None:
    spec = paced(service(replicas=4), Order.STOP_FIRST, parallelism)
    spec = exclusive(spec) if alone else spec
    shop = Shop(nodes=2)
    claimed(shop)
    allow(shop, "node-2", CORDONED)
    shop.ask(spec)
    shop.rest()
    assert shop.homes() == ["node-1"] * 4
    allow(shop, "node-2", ACTIVE)
    allow(shop, "node-1", DRAINING)
    seen = []
    for _ in range(40):
        shop.step()
        seen.append(away(shop, spec))
    assert max(seen) == most
    assert shop.homes() == ["node-2"] * 4


def test_while_a_copy_is_down_no_other_one_is_taken_away_and_it_is_said() -> None:
    is_down = False

    def manner(held: Assignment, age_s: float) -> AllocationStatus:
        return (
            ended(held, AllocState.FAILED, 1) if held.slot == 1 and is_down else well(held, age_s)
        )

    shop = Shop(paced(service(replicas=2), Order.STOP_FIRST, 1), manner=manner)
    shop.rest()
    (before,) = (a for a in shop.held() if a.slot == 2)
    home = next(
        name for name in shop.homes() if before in shop.world.nodes[NodeName(name)].assignments
    )
    is_down = True
    shop.step()
    allow(shop, home, DRAINING)
    shop.steps(10)
    assert before in shop.held()
    assert shop.waiting() == {"of its copies that have to move, 1 may be away at a time"}
    is_down = False
    shop.steps(40)
    assert home not in shop.homes()
