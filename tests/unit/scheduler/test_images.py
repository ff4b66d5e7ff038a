"""Which node has an image ready: one a service, always the same, moved by as little as can be."""

from collections.abc import Collection, Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.images import spare_images
from scheduler.nodes import Verdict, Verdicts
from scheduler.world import World
from shared.model import NodeName, Placement, PublishedPort, PullPolicy
from tests.build import (
    GIB,
    ROOMY,
    asked,
    asked_of,
    assignment,
    node,
    service,
    stack,
    workload,
    world,
)

IMAGES = [f"app:{number}" for number in range(12)]
NUMBERS = st.sets(st.integers(1, 12), min_size=2)


def spares_in(state: World, verdicts: Verdicts | None = None) -> Mapping[NodeName, tuple[str, ...]]:
    """Return which images each node is told to have; nodes of no other verdict are ready."""
    return spare_images(
        state,
        {name: (verdicts or {}).get(name, Verdict.READY) for name in state.nodes},
        asked_of(state),
        {name: each.assignments for name, each in state.nodes.items()},
    )


def spares(
    numbers: Collection[int], verdicts: Verdicts | None = None, running: Collection[int] = ()
) -> dict[str, str]:
    """Return image -> the node that is told to have it; `running` nodes run all of them."""
    held = [assignment(f"shop.s{n}.1.a", workload(image)) for n, image in enumerate(IMAGES)]
    hosts = [node(f"node-{n}", *(held if n in running else ())) for n in numbers]
    shop = stack("shop", *(service(f"s{n}", image=image) for n, image in enumerate(IMAGES)))
    state = world(hosts, [shop])
    found = spares_in(state, verdicts)
    pairs = [(image, str(name)) for name, images in found.items() for image in images]
    assert len(pairs) == len(dict(pairs)), "one node an image"
    return dict(pairs)


@given(NUMBERS, st.randoms(use_true_random=False))
def test_the_same_nodes_have_the_same_images_in_whatever_order(
    numbers: set[int], luck: object
) -> None:
    found = spares(sorted(numbers))
    assert found.keys() == set(IMAGES)
    assert spares(sorted(numbers, key=lambda n: hash((n, id(luck))))) == found


@given(NUMBERS)
def test_a_node_that_goes_moves_only_what_it_had(numbers: set[int]) -> None:
    gone, *rest = sorted(numbers)
    before, after = spares(numbers), spares(rest)
    for image in IMAGES:
        assert before[image] in {after[image], f"node-{gone}"}


@given(NUMBERS)
def test_a_node_that_comes_takes_its_share_and_moves_nothing_else(numbers: set[int]) -> None:
    before, after = spares(numbers), spares({*numbers, 99})
    for image in IMAGES:
        assert after[image] in {before[image], "node-99"}


@given(NUMBERS, st.sampled_from(Verdict))
def test_a_doubted_node_keeps_its_images_and_a_hopeless_one_has_none(
    numbers: set[int], verdict: Verdict
) -> None:
    first, *rest = sorted(numbers)
    found = spares(numbers, {NodeName(f"node-{first}"): verdict})
    is_out = verdict.is_given_up or verdict in {Verdict.CORDONED, Verdict.DRAINING}
    assert found == spares(rest if is_out else numbers)


@given(st.dictionaries(st.integers(1, 12), st.booleans(), min_size=2), st.integers(1, 4))
def test_a_node_with_room_for_a_copy_comes_before_all_others(
    full: dict[int, bool], needs_gib: int
) -> None:
    held = assignment("shop.big.1.a", workload("big", memory_bytes=ROOMY.memory_bytes))
    hosts = [node(f"node-{n}", *((held,) if is_full else ())) for n, is_full in full.items()]
    lean = service(image="app:0", memory_bytes=needs_gib * GIB)
    state = world(hosts, [stack("shop", lean)])
    found = spares_in(state)
    roomy = [n for n, is_full in full.items() if not is_full]
    expected = spares(roomy or full)["app:0"]
    assert {str(name): images for name, images in found.items()} == {expected: ("app:0",)}


@pytest.mark.parametrize("what", ["port", "limit"])
def test_room_is_more_than_memory(what: str) -> None:
    spec = service(image="app:0")
    if what == "port":
        taken = PublishedPort(published=53, target=53, is_host=True)
        spec = msgspec.structs.replace(
            spec, workload=msgspec.structs.replace(spec.workload, ports=(taken,))
        )
        other = assignment("shop.dns.1.a", spec.workload)
        other = msgspec.structs.replace(
            other, workload=msgspec.structs.replace(spec.workload, image="dns")
        )
    else:
        spec = msgspec.structs.replace(spec, placement=Placement(max_replicas_per_node=1))
        # Of the version before, so that its image is another.
        other = assignment("shop.web.1.a", workload("app:old"))
    first = spares({1, 2})["app:0"]
    hosts = [node(f"node-{n}", *((other,) if f"node-{n}" == first else ())) for n in (1, 2)]
    state = world(hosts, [stack("shop", spec)])
    found = spares_in(state)
    assert set(found) == set(state.nodes) - {first}


def test_who_runs_it_is_no_spare() -> None:
    assert set(spares({1, 2, 3}, running={1, 2}).values()) == {"node-3"}
    assert spares({1, 2}, running={1, 2}) == {}


def test_no_node_asks_a_registry_for_an_image_that_was_built_for_this_cluster() -> None:
    spec = service()
    own = msgspec.structs.replace(spec.workload, image="shop-web:1-abc", pull=PullPolicy.NEVER)
    state = world([node("node-1"), node("node-2")], [stack("shop", spec)])
    built = msgspec.structs.replace(spec, workload=own)
    found = spare_images(
        state, dict.fromkeys(state.nodes, Verdict.READY), [asked("shop", built)], {}
    )
    assert found == {}
