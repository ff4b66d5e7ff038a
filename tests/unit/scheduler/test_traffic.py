"""Allocations as they will be after the plan, without making those anew that stay."""

from hypothesis import given
from hypothesis import strategies as st

from scheduler.allocs import allocs_of, allocs_on
from scheduler.draft import Draft
from scheduler.nodes import Judged, Verdict
from scheduler.traffic import by_service, planned
from scheduler.world import World
from shared.model import AllocId
from tests.build import assignment, node, running, world

IDS = [f"shop.{service}.{slot}.a" for service in ("db", "web") for slot in range(1, 4)]


def a_world() -> World:
    half = len(IDS) // 2
    return world(
        [
            node(name, *map(assignment, ids), statuses=map(running, ids))
            for name, ids in (("node-1", IDS[:half]), ("node-2", IDS[half:]), ("node-3", []))
        ]
    )


@given(st.lists(st.tuples(st.sampled_from(["drop", "drain", "add"]), st.sampled_from(IDS))))
def test_what_stays_is_taken_over_and_what_comes_is_made(steps: list[tuple[str, str]]) -> None:
    state = a_world()
    judged = Judged(verdicts=dict.fromkeys(state.nodes, Verdict.READY))
    since = {AllocId(id_): float(number) for number, id_ in enumerate(IDS)}
    now = by_service(allocs_of(state, judged, since))
    draft = Draft(state)
    there, come = set(IDS), 0
    for what, id_ in steps:
        if what == "add":
            come += 1
            draft.add(list(state.nodes)[come % 3], assignment(f"shop.web.9.{come}"), "more")
        elif id_ in there and what == "drain":
            draft.drain(AllocId(id_), "it goes")
        elif what == "drop":
            there.discard(id_)
            draft.drop(AllocId(id_), "it goes")

    anew = [
        alloc
        for name in state.nodes
        for alloc in allocs_on(state, judged, name, draft.assignments[name], since)
    ]
    expected = by_service(sorted(anew, key=lambda alloc: alloc.id))
    assert {**planned(state, judged, draft, now, since)} == {**expected}
