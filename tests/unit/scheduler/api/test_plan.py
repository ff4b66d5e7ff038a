"""Plans: one id for one outcome, and a deploy that is held to what its author has seen."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.api.network_checks import ground_of
from scheduler.api.plan import hold, planned, revision_of
from scheduler.forecast import Start
from scheduler.nodes import History
from scheduler.story import Now
from scheduler.world import World
from shared.api import FieldChange, Happening, PlanView, StackUpload
from shared.errors import OvertakenError, SpecError, UnplaceableError
from shared.model import Joined, Network, NodeName, Resources, ServiceName, ServiceSpec
from shared.timing import LAN
from tests.build import node, running, world
from tests.unit.scheduler.api.build import PORT, SHOP, assignment, spec, stack

SERVICES = st.lists(
    st.builds(spec, st.sampled_from(["web", "db"]), st.integers(0, 2)),
    min_size=1,
    unique_by=lambda one: one.name,
).map(tuple)


def plan(state: World, upload: StackUpload) -> PlanView:
    start = Start(state, History(), Now(0.0, 0.0))
    return planned(start, ground_of(state), SHOP, upload, LAN, lambda: False)


def one_node(*stacks: ServiceSpec) -> World:
    return world([node("node-1")], [stack(*stacks)] if stacks else [])


def upload(*services: ServiceSpec) -> StackUpload:
    return StackUpload(services=services)


@settings(max_examples=30)
@given(SERVICES, SERVICES)
def test_equal_wishes_have_equal_plans_and_others_have_others(
    first: tuple[ServiceSpec, ...], second: tuple[ServiceSpec, ...]
) -> None:
    one, again = (plan(one_node(), StackUpload(services=first)) for _ in range(2))
    other = plan(one_node(), StackUpload(services=second))

    assert one == again
    assert (one.plan_id == other.plan_id) is (first == second)


def test_a_plan_says_what_becomes_of_each_service() -> None:
    before = one_node(spec("web"), spec("old"), spec("same", 0))
    found = plan(before, upload(spec("web", image="nginx:2"), spec("new"), spec("same", 0)))

    assert {one.service: one.what for one in found.services} == {
        ServiceName("new"): Happening.CREATE,
        ServiceName("old"): Happening.REMOVE,
        ServiceName("same"): Happening.NONE,
        ServiceName("web"): Happening.UPDATE,
    }
    assert not found.is_nothing


def test_what_no_stack_can_be_is_refused_as_a_deploy_would_be() -> None:
    with pytest.raises(SpecError, match="port 8080 is taken by stack blog, service front"):
        plan(
            world([], [stack(spec("front", ports=[PORT]), name="blog")]), upload(spec(ports=[PORT]))
        )


def test_a_deploy_is_held_to_its_plan() -> None:
    wanted = upload(spec())
    seen = plan(one_node(), wanted)
    named = msgspec.structs.replace(wanted, plan_id=seen.plan_id)

    hold(seen, named)
    moved = plan(world([node("node-2")]), wanted)
    with pytest.raises(OvertakenError) as told:
        hold(moved, named)
    assert str(told.value) == (
        f"plan {seen.plan_id} does not hold any more, and nothing was stored: the cluster or the "
        f"file is another one since.\nWhat would happen now (plan {moved.plan_id}):\n"
        "  web 1: start on node-2"
    )
    changed = plan(one_node(spec(image="other")), wanted)
    with pytest.raises(OvertakenError, match="shop was written since; it is at generation 1"):
        hold(changed, named)


def test_what_has_no_place_is_refused_before_it_is_stored() -> None:
    tight = world([node("node-1", capacity=Resources(cpu_millis=100))])
    big = spec()
    needs = msgspec.structs.replace(big.workload, reservations=Resources(cpu_millis=2000))
    wanted = upload(msgspec.structs.replace(big, workload=needs))
    found = plan(tight, wanted)

    hold(found, wanted)
    with pytest.raises(UnplaceableError) as told:
        hold(found, msgspec.structs.replace(wanted, needs_place=True))
    assert told.value.exit_code == 6
    assert "web 1: no node fits: node-1: cpu: needs 2, has 0.1 free of 0.1" in str(told.value)


def test_a_plan_that_only_moves_says_so() -> None:
    settled = one_node(spec())
    nodes = {**settled.nodes, NodeName("node-2"): node("node-2")}
    played = plan(msgspec.structs.replace(settled, nodes=nodes), upload(spec()))

    assert [one.what for one in played.services] == [Happening.NONE]
    assert [revision_of(text) for text in (played.plan_id, "x", "", "1x-")] == [1, -1, -1, -1]


def test_a_network_alone_is_a_change_without_a_step() -> None:
    web = spec(replicas=0)
    state = one_node(web)
    asked = msgspec.structs.replace(upload(web), networks=(Network(name="n", internal=True),))
    found = plan(state, asked)
    assert found.networks == (FieldChange(path="networks.n", after="internal"),)
    assert [one.what for one in found.services] == [Happening.NONE]
    assert (found.steps, found.is_nothing) == ((), False)


def test_what_a_service_is_called_is_a_change_without_a_step() -> None:
    web = spec()
    held = assignment(web)
    made = (Network(name="n"),)
    before = msgspec.structs.replace(stack(web), networks=made)
    state = world([node("node-1", held, statuses=[running(held.id)])], [before])
    work = msgspec.structs.replace(web.workload, networks=(Joined(network="n", aliases=("a",)),))
    asked = upload(msgspec.structs.replace(web, workload=work))
    found = plan(state, msgspec.structs.replace(asked, networks=made))
    (change,) = found.services
    assert [field.path for field in change.fields] == ["workload.networks", "workload.networks.n"]
    assert found.steps == ()
