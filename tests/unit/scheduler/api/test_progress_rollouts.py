"""When a change is over by its update's record, and what its slots look like meanwhile."""

import msgspec
import pytest

from scheduler.api.history import history
from scheduler.api.progress import Obstacle, Patience, Stand, is_done, progress, slots, waiting
from shared.model import (
    NodeName,
    Rollout,
    RolloutPhase,
    Ruling,
    Schedule,
    ServiceName,
    Verb,
    Want,
)
from shared.states import AllocState
from tests.unit.scheduler.api.build import (
    assignment,
    node,
    rollout,
    spec,
    stack,
    stand,
    status,
    world,
)

WEB = ServiceName("web")
P = RolloutPhase
ENDS = {P.DONE, P.CANARY, P.PAUSED, P.ROLLED_BACK, P.FAILED}


def at(*rollouts: Rollout, rulings: dict[ServiceName, Ruling] | None = None) -> Stand:
    one = assignment(spec())
    asked = msgspec.structs.replace(stack(spec()), rulings=rulings or {})
    return stand(world(node(1, [one], [status(one)]), stacks=[asked], rollouts=rollouts))


@pytest.mark.parametrize("phase", list(P))
def test_a_change_is_over_when_its_update_has_come_to_an_end_of_any_kind(phase: P) -> None:
    assert is_done(at(rollout(spec(), phase))) is (phase in ENDS)


def test_the_end_of_another_version_is_not_that_of_this_one() -> None:
    assert not is_done(at(rollout(spec(image="nginx:0"), P.DONE)))


def test_what_went_back_is_begun_again_by_the_next_generation() -> None:
    back = rollout(spec(), P.ROLLED_BACK, generation=0, is_back=True)

    assert not is_done(at(back))
    assert is_done(at(msgspec.structs.replace(back, generation=1)))


def test_a_word_that_was_not_heard_yet_will_change_something() -> None:
    word = {WEB: Ruling(verb=Verb.PROMOTE, generation=1, number=2)}

    assert not is_done(at(rollout(spec(), P.CANARY, ruled=1), rulings=word))
    assert is_done(at(rollout(spec(), P.CANARY, ruled=2), rulings=word))


def test_what_fails_is_over_although_it_is_never_at_rest() -> None:
    going = assignment(spec(), suffix="b", want=Want.DRAIN)
    seen = world(
        node(1, [going], [status(going)]),
        stacks=[stack(spec())],
        rollouts=[rollout(spec(), P.FAILED)],
    )
    assert is_done(stand(seen))
    done = msgspec.structs.replace(
        seen, rollouts=world(rollouts=[rollout(spec(), P.DONE)]).rollouts
    )
    assert not is_done(stand(done))


def test_a_scheduled_job_that_waits_for_its_time_is_as_it_should_be() -> None:
    job = msgspec.structs.replace(spec(), schedule=Schedule(cron="0 4 * * *"))
    seen = world(stacks=[stack(job)], rollouts=[rollout(job, P.ROLLING)])

    assert is_done(stand(seen))


def test_progress_has_the_phase_and_every_slot_old_ones_first() -> None:
    new, old = spec(image="nginx:2"), spec(image="nginx:1")
    one, other = assignment(new, suffix="b"), assignment(old, want=Want.DRAIN)
    seen = stand(
        world(
            node(1, [one, other], [status(one, AllocState.PREPARING), status(other)]),
            stacks=[stack(new)],
            rollouts=[rollout(new, P.ROLLING)],
        )
    )
    (shown,) = progress(Patience(), seen, 0.0).services

    assert (shown.phase, shown.reason) == ("rolling", "it crashed")
    assert shown.slots == slots(seen, WEB)
    assert [(each.slot, each.version, each.state, each.node) for each in shown.slots] == [
        (1, "old", "draining", NodeName("node-1")),
        (1, "new", "preparing", NodeName("node-1")),
    ]


def test_what_failed_is_not_waited_for_any_more_once_it_goes_back() -> None:
    failed = {(WEB, 1): Obstacle("web 1 failed", 0.0)}

    assert waiting(at(rollout(spec(), P.ROLLING)), failed) == {WEB: ("web 1 failed",)}
    assert waiting(at(rollout(spec(), P.ROLLING_BACK, is_back=True)), failed) == {}


def test_a_container_that_differs_only_in_what_is_written_on_it_is_new() -> None:
    one = assignment(spec())
    workload = msgspec.structs.replace(spec().workload, labels={"team": "shop"})
    labelled = msgspec.structs.replace(spec(), workload=workload)
    seen = stand(world(node(1, [one], [status(one)]), stacks=[stack(labelled)]))

    assert [each.version for each in slots(seen, WEB)] == ["new"]
    assert is_done(seen)


def test_of_generations_that_asked_for_the_same_the_newest_ran() -> None:
    one, two = spec(image="1"), spec(image="2")
    past = [stack(one, generation=1), stack(two, generation=2), stack(one, generation=3)]
    ran = msgspec.structs.replace(rollout(two, P.ROLLING), stable=one)
    found = history(stack(two, generation=4), past, {WEB: ran})

    assert [(each.generation, each.is_stable) for each in found.generations] == [
        (4, False),
        (3, True),
        (2, False),
        (1, False),
    ]
