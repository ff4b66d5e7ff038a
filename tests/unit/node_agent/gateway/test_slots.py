"""The slots of a service: who leads where, in which order, and who holds."""

from hypothesis import given
from hypothesis import strategies as st

from node_agent.gateway.slots import (
    NOWHERE,
    Slot,
    SlotState,
    Steps,
    Table,
    gone_addresses,
    next_table,
    steps,
)
from shared.model import (
    AllocId,
    Endpoint,
    EndpointState,
    NodeName,
    PublishedPort,
    ServiceName,
    ServiceRoutes,
)

READY, DRAINING = EndpointState.READY, EndpointState.DRAINING
PORT = PublishedPort(published=8080, target=80)


def endpoint(name: str, state: EndpointState = READY) -> Endpoint:
    number = int(name[1:])
    return Endpoint(
        allocation=AllocId(name),
        node=NodeName("node-1"),
        address=f"198.19.1.{number + 1}",
        state=state,
    )


def routes(*endpoints: Endpoint, replicas: int = 2) -> ServiceRoutes:
    return ServiceRoutes(
        service=ServiceName("web"), ports=(PORT,), endpoints=endpoints, replicas=replicas
    )


def ready(table: Table) -> list[str]:
    return [slot.address for slot in table.slots if slot.state is SlotState.READY]


def test_a_service_without_a_replica_holds_from_the_start() -> None:
    table = next_table(Table(), routes())
    assert ready(table) == [NOWHERE]


def test_the_first_replica_takes_the_slot_that_holds() -> None:
    held = next_table(Table(), routes())
    table = next_table(held, routes(endpoint("a1")))
    assert ready(table) == ["198.19.1.2"]
    assert steps(held, table) == Steps(
        lead=(
            Slot(
                number=1,
                state=SlotState.READY,
                address="198.19.1.2",
                allocation=AllocId("a1"),
            ),
        )
    )


def test_one_of_two_that_is_gone_goes_to_maintenance_and_its_connections_end() -> None:
    before = next_table(Table(), routes(endpoint("a1"), endpoint("a2")))
    after = next_table(before, routes(endpoint("a2")))
    change = steps(before, after)
    assert [(slot.number, slot.state) for slot in change.set_state] == [(1, SlotState.MAINT)]
    assert gone_addresses(before, after) == ("198.19.1.2",)


def test_the_last_one_that_is_gone_holds_and_its_replacement_takes_its_slot() -> None:
    before = next_table(Table(), routes(endpoint("a1"), replicas=1))
    held = next_table(before, routes(replicas=1))
    assert ready(held) == [NOWHERE]
    assert gone_addresses(before, held) == ("198.19.1.2",)
    after = next_table(held, routes(endpoint("a7"), replicas=1))
    assert [slot.number for slot in steps(held, after).lead] == [1]


def test_a_service_that_is_not_asked_for_any_more_holds_nothing() -> None:
    before = next_table(Table(), routes(endpoint("a1"), replicas=1))
    assert ready(next_table(before, routes(endpoint("a1", DRAINING), replicas=0))) == []
    assert ready(next_table(before, routes(replicas=0))) == []


def test_a_new_generation_leads_before_the_old_one_drains() -> None:
    before = next_table(Table(), routes(endpoint("a1"), replicas=1))
    after = next_table(before, routes(endpoint("a1", DRAINING), endpoint("a2"), replicas=1))
    change = steps(before, after)
    assert [slot.allocation for slot in change.lead] == ["a2"]
    assert [(slot.allocation, slot.state) for slot in change.set_state] == [("a1", SlotState.DRAIN)]
    assert gone_addresses(before, after) == ()


NAMES = st.sampled_from([f"a{number}" for number in range(1, 9)])
ROUTES = st.builds(
    lambda states, replicas: routes(
        *(endpoint(name, state) for name, state in sorted(states.items())), replicas=replicas
    ),
    st.dictionaries(NAMES, st.sampled_from(EndpointState)),
    st.integers(0, 6),
)


@given(st.lists(ROUTES, min_size=1, max_size=8))
def test_through_any_history_every_ready_endpoint_has_one_ready_slot(
    history: list[ServiceRoutes],
) -> None:
    table = Table()
    for wanted in history:
        table = next_table(table, wanted)
        expected = sorted(each.address for each in wanted.endpoints if each.state is READY)
        if not expected and wanted.replicas > 0:
            expected = [NOWHERE]
        assert sorted(ready(table)) == expected
        assert [slot.number for slot in table.slots] == list(range(1, len(table.slots) + 1))


@given(st.lists(ROUTES, min_size=1, max_size=6))
def test_deciding_again_changes_nothing(history: list[ServiceRoutes]) -> None:
    table = Table()
    for wanted in history:
        table = next_table(table, wanted)
        assert next_table(table, wanted) == table
        assert steps(table, table) == Steps()


@given(ROUTES, ROUTES)
def test_no_step_on_the_way_leaves_a_service_with_replicas_without_a_ready_slot(
    first: ServiceRoutes, then: ServiceRoutes
) -> None:
    before = next_table(next_table(Table(), routes(replicas=10)), first)
    after = next_table(before, then)
    change = steps(before, after)
    now = {slot.number: slot.state for slot in before.slots}
    had = SlotState.READY in now.values()
    leading = sorted(change.lead, key=lambda slot: slot.state is not SlotState.READY)
    for slot in (*leading, *change.set_state):
        now[slot.number] = slot.state
        if had and then.replicas > 0:
            assert SlotState.READY in now.values()
    assert now == {slot.number: slot.state for slot in after.slots}


@given(st.lists(ROUTES, min_size=2, max_size=6))
def test_connections_end_to_exactly_the_addresses_that_nobody_has_any_more(
    history: list[ServiceRoutes],
) -> None:
    table = Table()
    known: set[str] = set()
    for wanted in history:
        after = next_table(table, wanted)
        if len(after.slots) == len(table.slots):
            listed = {each.address for each in wanted.served}
            assert set(gone_addresses(table, after)) == known - listed
        table = after
        known = {slot.address for slot in table.slots if slot.allocation}
