"""A stack, and what becomes of it when somebody asks for a change."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.api.amend import Known, amended, uploaded
from shared.api import (
    Abort,
    Change,
    Promote,
    Restart,
    Rollback,
    Scale,
    StackUpload,
    Start,
    Stop,
)
from shared.errors import NotFoundError, SpecError
from shared.model import (
    Dependency,
    Mode,
    Rollout,
    RolloutPhase,
    Ruling,
    ServiceName,
    ServiceSpec,
    Stack,
    Verb,
)
from tests.unit.scheduler.api.build import SHOP, spec, stack

WEB, DB, JOB = ServiceName("web"), ServiceName("db"), ServiceName("job")
SERVICES = st.lists(
    st.builds(
        spec,
        st.sampled_from(["web", "db", "job"]),
        st.integers(0, 3),
        image=st.sampled_from(["app:1", "app:2"]),
    ),
    min_size=1,
    unique_by=lambda one: one.name,
).map(tuple)


def forces(found: Stack) -> dict[str, int]:
    return {one.name: one.workload.force for one in found.services}


def after(dependant: ServiceSpec, *on: str) -> ServiceSpec:
    needed = tuple(Dependency(service=ServiceName(name), restart=True) for name in on)
    return msgspec.structs.replace(dependant, depends_on=needed)


def upload(*services: ServiceSpec) -> StackUpload:
    return StackUpload(services=services)


def rollout(phase: RolloutPhase, generation: int = 4) -> Rollout:
    return Rollout(stack=SHOP, service=WEB, generation=generation, phase=phase, target=spec())


@given(SERVICES, SERVICES)
def test_the_same_upload_twice_changes_nothing_the_second_time(
    old: tuple[ServiceSpec, ...], new: tuple[ServiceSpec, ...]
) -> None:
    once = uploaded(SHOP, stack(*old), StackUpload(services=new))

    assert once.services == new
    assert uploaded(SHOP, once, StackUpload(services=new)) == once


@given(SERVICES)
def test_a_deploy_after_a_restart_restarts_nothing_again(
    services: tuple[ServiceSpec, ...],
) -> None:
    restarted = amended(Known(stack(*services)), Restart())

    assert set(forces(restarted).values()) == {1}
    assert uploaded(SHOP, restarted, StackUpload(services=services)) == restarted


@given(SERVICES)
def test_what_was_stopped_and_started_is_as_it_was(services: tuple[ServiceSpec, ...]) -> None:
    before = stack(*services)
    stopped = amended(Known(before), Stop())

    assert all(one.is_stopped for one in stopped.services)
    assert amended(Known(stopped), Start()).services == services
    assert amended(Known(stopped), Stop()) == stopped


@given(st.lists(SERVICES, min_size=2, max_size=6), st.data())
def test_a_rollback_asks_for_exactly_what_was_asked_for_then(
    versions: list[tuple[ServiceSpec, ...]], data: st.DataObject
) -> None:
    *past, now = [
        msgspec.structs.replace(stack(*services, generation=number), source=str(number))
        for number, services in enumerate(versions, 1)
    ]
    target = data.draw(st.sampled_from(past))
    found = amended(Known(now, past), Rollback(generation=target.generation))

    assert (found.services, found.source) == (target.services, target.source)
    assert (found.generation, found.why) == (
        now.generation,
        f"rollback to generation {target.generation}",
    )


def test_a_rollback_without_a_number_goes_to_the_newest_that_was_something_else() -> None:
    one, two = spec(image="app:1"), spec(image="app:2")
    past = [stack(one, generation=1), stack(two, generation=2), stack(two, generation=3)]

    assert amended(Known(stack(two, generation=4), past), Rollback()).services == (one,)


def test_a_rollback_after_failed_updates_goes_to_what_came_up_whole_last() -> None:
    good, bad, worse = (spec(image=f"app:{number}") for number in (1, 2, 3))
    past = [stack(good, generation=1), stack(bad, generation=2)]
    back = msgspec.structs.replace(
        rollout(RolloutPhase.ROLLED_BACK), target=worse, stable=good, is_back=True
    )
    known = Known(stack(worse, generation=3), past, {WEB: back})

    assert amended(known, Rollback()).services == (good,)


def test_a_scale_changes_the_number_and_nothing_else() -> None:
    before = stack(spec("web", 2), spec("db"))
    found = amended(Known(before), Scale(services={WEB: 5}))

    assert found == msgspec.structs.replace(
        before, services=(spec("web", 5), spec("db")), why="scale web=5"
    )
    assert amended(Known(found), Scale(services={WEB: 5})) == found


def test_what_follows_a_service_is_restarted_with_it_and_once() -> None:
    services = (spec("db"), after(spec("web"), "db"), after(spec("job"), "web", "db"))
    before = stack(*services)
    updated = uploaded(SHOP, before, upload(spec("db", image="new"), *services[1:]))
    restarted = amended(Known(before), Restart(services=(DB,)))
    scaled = uploaded(SHOP, before, upload(spec("db", 3), *services[1:]))

    assert forces(updated) == {"db": 0, "web": 1, "job": 1}
    assert forces(restarted) == {"db": 1, "web": 1, "job": 1}
    assert forces(scaled) == {"db": 0, "web": 0, "job": 0}
    assert uploaded(SHOP, updated, upload(spec("db", image="new"), *services[1:])) == updated


def test_services_that_follow_each_other_in_a_ring_are_restarted_once() -> None:
    ring = stack(after(spec("web"), "db"), after(spec("db"), "web"))

    assert forces(amended(Known(ring), Restart(services=(WEB,)))) == {"web": 1, "db": 1}


def test_a_ruling_is_no_new_wish() -> None:
    before = stack(spec("web"), generation=4)
    waiting = {WEB: rollout(RolloutPhase.CANARY)}
    found = amended(Known(before, (), waiting), Promote())

    assert found == msgspec.structs.replace(
        before, rulings={WEB: Ruling(verb=Verb.PROMOTE, generation=4)}
    )


def test_what_still_goes_on_can_be_taken_back_by_name_only() -> None:
    rolling = Known(stack(spec()), (), {WEB: rollout(RolloutPhase.ROLLING)})

    assert amended(rolling, Abort(services=(WEB,))).rulings[WEB].verb is Verb.ABORT
    with pytest.raises(SpecError, match="nothing of stack shop waits for a word; web is rolling"):
        amended(rolling, Abort())


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        (Scale(services={}), SpecError, "say how many of which: SERVICE=COUNT"),
        (
            Scale(services={ServiceName("x"): 1}),
            NotFoundError,
            "stack shop has no service 'x'; it has: agent, web",
        ),
        (
            Scale(services={ServiceName("agent"): 1}),
            SpecError,
            (
                "service agent is global: it runs once on every node that meets its constraints, "
                "so no number can be asked for"
            ),
        ),
        (
            Restart(services=(DB,)),
            NotFoundError,
            "stack shop has no service 'db'; it has: agent, web",
        ),
        (
            Rollback(),
            NotFoundError,
            "stack shop has never asked for anything else than now; its history is empty",
        ),
        (
            Rollback(generation=7),
            NotFoundError,
            "stack shop has no generation 7 before it; its history is empty",
        ),
        (
            Promote(services=(WEB,)),
            SpecError,
            (
                "service web has no update to promote: that of generation 4 is done, not canary or "
                "paused"
            ),
        ),
        (
            Abort(services=(ServiceName("agent"),)),
            SpecError,
            "service agent has no update to abort: none was begun",
        ),
        (Promote(), SpecError, "nothing of stack shop waits for a word; web is done"),
    ],
)
def test_what_cannot_be_names_what_there_is(
    change: Change, error: type[Exception], sentence: str
) -> None:
    everywhere = msgspec.structs.replace(spec("agent"), mode=Mode.GLOBAL)
    known = Known(stack(spec("web"), everywhere), (), {WEB: rollout(RolloutPhase.DONE)})

    with pytest.raises(error) as refused:
        amended(known, change)
    assert str(refused.value) == sentence
