"""Access logs of several nodes as one: in order, whole, and no node holds up a follower."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.api.access import HELD_MAX, HOLD_S, Merge
from scheduler.api.access_handlers import services_of
from scheduler.api.selection import Selection
from scheduler.world import StackState, World
from shared.api import AccessEntry
from shared.errors import SpecError
from shared.model import NodeName, Revision, ServiceSpec, Stack, StackName, Traffic
from tests.build import service

NAMES = tuple(NodeName(f"node-{n}") for n in range(1, 4))


@given(
    st.lists(st.lists(st.integers(0, 50)), min_size=3, max_size=3),
    st.lists(st.sampled_from(range(3))),
)
def test_what_is_there_comes_out_whole_and_in_order(
    said: list[list[int]], turns: list[int]
) -> None:
    """Whoever is quick: nodes give what they have in any rhythm."""
    merge, found = Merge(), []
    waiting = {name: sorted(times) for name, times in zip(NAMES, said, strict=True)}
    for name in NAMES:
        merge.open(name)
    for turn in [*turns, *(n for n in range(3) for _ in said[n])]:
        name = NAMES[turn]
        if waiting[name]:
            merge.add(AccessEntry(node=name, at_ms=waiting[name].pop(0)), now=1000.0)
            found += merge.ready(now=1000.0)
    for name in NAMES:
        merge.close(name)
        found += merge.ready(now=1000.0)
    assert [entry.at_ms for entry in found] == sorted(at for times in said for at in times)
    assert merge.is_empty


def test_a_follower_waits_for_a_silent_node_no_longer_than_it_says() -> None:
    merge = Merge(HOLD_S)
    for name in NAMES[:2]:
        merge.open(name)
    entry = AccessEntry(node=NAMES[0], at_ms=5)
    merge.add(entry, now=10.0)
    assert merge.ready(now=10.0 + HOLD_S - 0.01) == []
    assert merge.ready(now=10.0 + HOLD_S) == [entry]
    older = AccessEntry(node=NAMES[1], at_ms=4)
    merge.add(older, now=20.0)
    assert merge.ready(now=20.0) == [older], "nothing that is older can come"


def test_of_one_node_so_much_is_held_and_no_more() -> None:
    merge = Merge()
    for name in NAMES[:2]:
        merge.open(name)
    for at in range(HELD_MAX):
        assert merge.has_room(NAMES[0])
        merge.add(AccessEntry(node=NAMES[0], at_ms=at), now=0.0)
    assert not merge.has_room(NAMES[0])
    merge.close(NAMES[1])
    assert len(merge.ready(now=0.0)) == HELD_MAX
    assert merge.has_room(NAMES[0])


def stack(*services: ServiceSpec) -> World:
    name = StackName("shop")
    return World(
        stacks={name: StackState(Stack(name=name, generation=1, services=services), Revision(1))}
    )


def test_services_that_nothing_is_written_of_are_left_out_or_refused() -> None:
    logged = msgspec.structs.replace(service(), traffic=Traffic(access_log=True))
    silent = msgspec.structs.replace(service(), name="api")
    world = stack(logged, silent)
    assert services_of(world, Selection(stack="shop")) == ("shop.web",)
    with pytest.raises(SpecError) as refused:
        services_of(world, Selection(stack="shop", service="api"))
    assert str(refused.value) == (
        "gateways write nothing of requests to shop.api: give the service"
        " `x-hafen: access_log: true` and deploy it"
    )
