"""Placement: what fits, where it goes, and what a refusal says."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from scheduler.fit import Candidate, Request, minus
from scheduler.place import Bound, Refusal, Unplaceable, place
from shared.model import DOCUMENT_BYTES_MAX, Constraint, NodeName, Placement, Resources
from tests.build import GIB, MIB, node_spec

WEB = ("shop", "web")


def candidate(
    name: str, *, cpu: int = 4000, memory: int = 8 * GIB, replicas: int = 0, **labels: str
) -> Candidate:
    capacity = Resources(cpu_millis=cpu, memory_bytes=memory)
    return Candidate(
        spec=node_spec(name, **labels),
        capacity=capacity,
        free=capacity,
        replicas={WEB: replicas} if replicas else {},
    )


def request(slot: int = 1, *, memory: int = 0, **placement: object) -> Request:
    return Request(
        service=WEB,
        slot=slot,
        needs=Resources(memory_bytes=memory),
        placement=Placement(**placement),  # type: ignore[arg-type]
    )


def nodes_of(outcomes: tuple[Bound | Unplaceable, ...]) -> list[str]:
    return [outcome.node for outcome in outcomes if isinstance(outcome, Bound)]


def test_replicas_spread_over_nodes() -> None:
    outcomes = place(
        [candidate("node-1"), candidate("node-2"), candidate("node-3")],
        [request(1), request(2), request(3)],
    )
    assert sorted(nodes_of(outcomes)) == ["node-1", "node-2", "node-3"]


def test_a_refusal_names_every_node_and_what_it_lacks() -> None:
    wants_ssd = (Constraint(key="node.labels.disk", value="ssd"),)
    nodes = [
        candidate("node-1", memory=100 * MIB, disk="ssd"),
        candidate("node-2"),
        candidate("node-3", replicas=1, disk="ssd"),
    ]
    ask = request(memory=512 * MIB, constraints=wants_ssd, max_replicas_per_node=1)

    (outcome,) = place(nodes, [ask])

    assert outcome == Unplaceable(
        ask,
        (
            Refusal(NodeName("node-1"), "memory: needs 512 MiB, has 100 MiB free of 100 MiB"),
            Refusal(
                NodeName("node-2"),
                "node.labels.disk == ssd is asked for, it has no such label",
            ),
            Refusal(NodeName("node-3"), "has 1 replicas, at most 1 per node are allowed"),
        ),
    )


def test_a_node_whose_manifest_is_full_refuses_with_numbers() -> None:
    full = msgspec.structs.replace(candidate("node-1"), document_bytes=DOCUMENT_BYTES_MAX - 99)
    ask = msgspec.structs.replace(request(), document_bytes=100)
    (outcome,) = place([full], [ask])
    assert isinstance(outcome, Unplaceable)
    assert outcome.reason == (
        f"no node fits: node-1: manifest: needs 100 bytes, has 99 free of {DOCUMENT_BYTES_MAX}"
    )


def test_without_any_node_the_reason_says_so() -> None:
    (outcome,) = place([], [request()])
    assert isinstance(outcome, Unplaceable)
    assert outcome.reason == "no node is ready"


def test_a_node_where_the_slot_failed_is_taken_only_if_no_other_fits() -> None:
    failed = Request(service=WEB, slot=1, needs=Resources(), avoid=frozenset({NodeName("node-1")}))
    assert nodes_of(place([candidate("node-1"), candidate("node-2", replicas=3)], [failed])) == [
        "node-2"
    ]
    assert nodes_of(place([candidate("node-1")], [failed])) == ["node-1"]


def test_a_preference_spreads_over_zones_before_nodes() -> None:
    nodes = [
        candidate("node-1", zone="a", replicas=1),
        candidate("node-2", zone="a"),
        candidate("node-3", zone="b"),
    ]
    assert nodes_of(place(nodes, [request(spread=("node.labels.zone",))])) == ["node-3"]


def test_a_forbidden_label_keeps_away() -> None:
    away = (Constraint(key="node.hostname", value="node-1", equal=False),)
    outcomes = place([candidate("node-1"), candidate("node-2")], [request(constraints=away)])
    assert nodes_of(outcomes) == ["node-2"]


SIZES = st.integers(min_value=0, max_value=3000)


@given(
    st.lists(st.tuples(SIZES, SIZES), max_size=6),
    st.lists(st.tuples(SIZES, SIZES), max_size=20),
)
def test_no_node_is_ever_given_more_than_it_has(
    sizes: list[tuple[int, int]], needs: list[tuple[int, int]]
) -> None:
    nodes = [
        candidate(f"node-{number}", cpu=cpu, memory=memory)
        for number, (cpu, memory) in enumerate(sizes, 1)
    ]
    requests = [
        Request(service=WEB, slot=slot, needs=Resources(cpu_millis=cpu, memory_bytes=memory))
        for slot, (cpu, memory) in enumerate(needs, 1)
    ]
    outcomes = place(nodes, requests)

    assert sorted(outcome.request.slot for outcome in outcomes) == [r.slot for r in requests]
    left = {node.name: node.free for node in nodes}
    for outcome in outcomes:
        if isinstance(outcome, Bound):
            left[outcome.node] = minus(left[outcome.node], outcome.request.needs)
        else:
            assert {refusal.node for refusal in outcome.refusals} == left.keys()
    assert all(free.cpu_millis >= 0 and free.memory_bytes >= 0 for free in left.values())


@given(st.permutations([1, 2, 3, 4]), st.integers(1, 8))
def test_the_order_in_which_nodes_come_does_not_matter(order: list[int], slots: int) -> None:
    requests = [request(slot) for slot in range(1, slots + 1)]
    shuffled = place([candidate(f"node-{number}") for number in order], requests)
    assert shuffled == place([candidate(f"node-{number}") for number in range(1, 5)], requests)
