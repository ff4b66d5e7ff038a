"""The agent's steps: one rule an example, and a node that settles when it obeys them."""

from collections.abc import Mapping

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from node_agent.actions import Create, Remove, Start, Step, Stop
from node_agent.claims import Right
from node_agent.decide import PERIOD_S, Allowed, decide
from node_agent.health import ProbeState
from node_agent.restart import QUICK_EXITS_MAX, Exits
from node_agent.runtime import Container, Phase
from node_agent.track import Track, Tracks, follow
from shared.model import AllocId, Assignment, Health, Want
from tests.build import assignment, container, workload

A, B, C = (AllocId(f"shop.web.{slot}.a") for slot in (1, 2, 3))


def by_id(*containers: Container) -> dict[AllocId, Container]:
    return {each.id: each for each in containers}


def wanting(*ids: AllocId) -> dict[AllocId, Assignment]:
    return {id_: assignment(id_) for id_ in ids}


def test_what_nobody_wants_goes_before_what_is_wanted_comes() -> None:
    observed = by_id(container(A), container(B, Phase.EXITED))
    assert decide(wanting(C), observed, {}, frozenset(), 0.0).steps == (
        Stop(A, "not assigned here", 10.0),
        Remove(B, "not assigned here"),
        Create(C, "no container yet", assignment(C)),
    )


def test_a_container_with_a_step_under_way_gets_none() -> None:
    assert decide(wanting(A), {}, {}, {A}, 0.0).steps == ()


def test_a_container_that_died_starts_again_at_once() -> None:
    track = Track(exits=Exits(count=1, quick=1, last_at=7.0, last_reason="it exited with code 1"))
    decision = decide(wanting(A), by_id(container(A, Phase.EXITED)), {A: track}, frozenset(), 7.0)
    assert decision.steps == (Start(A, "it exited with code 1"),)


def test_one_that_keeps_dying_waits_and_the_wait_wakes_the_agent() -> None:
    track = Track(exits=Exits(count=2, quick=2, last_at=7.0))
    decision = decide(wanting(A), by_id(container(A, Phase.EXITED)), {A: track}, frozenset(), 7.0)
    assert decision.steps == ()
    assert decision.wake_in_s == 0.5


def test_an_unhealthy_container_is_stopped() -> None:
    track = Track(probed=ProbeState(health=Health.UNHEALTHY, failures=3))
    decision = decide(wanting(A), by_id(container(A)), {A: track}, frozenset(), 0.0)
    assert decision.steps == (Stop(A, "its healthcheck failed 3 times", 10.0),)


def test_one_that_was_given_up_is_left_alone() -> None:
    given_up = {A: Track(failed="no such image")}
    decision = decide(wanting(A), by_id(container(A, Phase.EXITED)), given_up, frozenset(), 0.0)
    assert decision.steps == ()
    assert decision.wake_in_s == PERIOD_S


def test_one_that_is_complete_stays_as_it_is_until_nobody_asks_for_it() -> None:
    complete = {A: Track(is_complete=True, counted=1)}
    ended = by_id(container(A, Phase.EXITED))
    for there in (ended, {}):
        decision = decide(wanting(A), there, complete, frozenset(), 0.0)
        assert (decision.steps, decision.wake_in_s) == ((), PERIOD_S)
    removed = decide({}, ended, complete, frozenset(), 0.0)
    assert removed.steps == (Remove(A, "not assigned here"),)


STANDBY = assignment(A, want=Want.STANDBY)
ONCE = assignment(A, msgspec.structs.replace(workload(), exclusive=True))


def steps_of(asked: Assignment, *there: Container, allowed: Allowed) -> tuple[Step, ...]:
    return decide({asked.id: asked}, by_id(*there), {}, frozenset(), 0.0, allowed).steps


def test_a_standby_is_made_and_not_started() -> None:
    allowed = Allowed()
    made = Create(A, "no container yet", STANDBY, start=False)
    assert steps_of(STANDBY, allowed=allowed) == (made,)
    assert steps_of(STANDBY, container(A, Phase.CREATED, started=0), allowed=allowed) == ()
    assert steps_of(STANDBY, container(A), allowed=allowed) == (Stop(A, "it is to stand by", 10.0),)


def test_a_standby_that_ended_is_made_anew_and_an_activated_one_is_started() -> None:
    ended = container(A, Phase.EXITED, started=0)
    removed = Remove(A, "it ended before it was started")
    assert steps_of(STANDBY, ended, allowed=Allowed()) == (removed,)
    made = container(A, Phase.CREATED, started=0)
    started = Start(A, "created, not started")
    assert steps_of(assignment(A), made, allowed=Allowed()) == (started,)


def test_exclusive_work_is_made_ahead_but_starts_only_with_its_claim() -> None:
    made = container(A, Phase.CREATED, started=0)
    held = Allowed(rights={A: Right.HELD})
    assert steps_of(ONCE, allowed=Allowed()) == (Create(A, "no container yet", ONCE, start=False),)
    assert steps_of(ONCE, made, allowed=Allowed()) == ()
    assert steps_of(ONCE, container(A, Phase.EXITED), allowed=Allowed()) == ()
    assert steps_of(ONCE, made, allowed=held) == (Start(A, "created, not started"),)


def test_exclusive_work_whose_claim_another_has_is_stopped_at_once() -> None:
    denied = Allowed(rights={A: Right.DENIED})
    assert steps_of(ONCE, container(A), allowed=denied) == (
        Stop(A, "another node has its claim", 0.0),
    )
    # Whose claim is nobody's goes on: its fuse says how long.
    assert steps_of(ONCE, container(A), allowed=Allowed(rights={A: Right.WAIT})) == ()


def test_nothing_begins_before_etcd_has_spoken_and_nothing_exclusive_without_a_fuse() -> None:
    silent = Allowed(rights={A: Right.HELD}, begin=False)
    assert steps_of(assignment(A), allowed=silent) == ()
    assert steps_of(STANDBY, container(A, Phase.EXITED), allowed=silent) == ()
    burnt = Allowed(rights={A: Right.HELD}, exclusive=False)
    assert steps_of(ONCE, allowed=burnt) == ()
    assert steps_of(assignment(A), allowed=burnt) != ()


IDS = st.sampled_from([A, B, C])
CONTAINERS = st.dictionaries(IDS, st.sampled_from(Phase)).map(
    lambda phases: by_id(*(container(id_, phase) for id_, phase in phases.items()))
)
_AFTER = {Create: Phase.RUNNING, Start: Phase.RUNNING, Stop: Phase.EXITED, Remove: None}


def perform(
    steps: tuple[Step, ...], observed: Mapping[AllocId, Container]
) -> dict[AllocId, Container]:
    after = dict(observed)
    for step in steps:
        phase = _AFTER[type(step)]
        if phase is None:
            del after[step.id]
        else:
            started = after[step.id].started if step.id in after else 0
            begun = phase is Phase.RUNNING
            after[step.id] = container(step.id, phase, started=started + (1 if begun else 0))
    return after


@given(st.sets(IDS), CONTAINERS)
def test_a_node_left_alone_settles_in_what_was_asked(
    wanted: set[AllocId], observed: dict[AllocId, Container]
) -> None:
    desired = wanting(*sorted(wanted))
    tracks: Tracks = {}
    for now in range(4):  # Stop, Remove, Create and one round to see that it is over
        tracks = follow(tracks, observed.values(), desired, float(now))
        observed = perform(
            decide(desired, observed, tracks, frozenset(), float(now)).steps, observed
        )
    assert decide(desired, observed, tracks, frozenset(), 9.0).steps == ()
    assert {id_: each.phase for id_, each in observed.items()} == dict.fromkeys(
        wanted, Phase.RUNNING
    )


def test_one_that_ends_at_once_every_time_is_given_up_after_a_bounded_number_of_starts() -> None:
    tracks: Tracks = {}
    observed = by_id(container(A))
    now, starts = 0.0, 1
    while not tracks.get(A, Track()).failed:
        tracks = follow(tracks, observed.values(), wanting(A), now)
        exited = msgspec.structs.replace(observed[A], phase=Phase.EXITED, exit_code=3)
        tracks = follow(tracks, [exited], wanting(A), now + 0.1)
        decision = decide(wanting(A), by_id(exited), tracks, frozenset(), now + 0.1)
        now += 0.1 + decision.wake_in_s
        if decide(wanting(A), by_id(exited), tracks, frozenset(), now).steps:
            starts += 1
            observed = by_id(container(A, started=starts))
    assert starts == QUICK_EXITS_MAX
    assert tracks[A].failed == (
        f"ended {QUICK_EXITS_MAX} times in a row soon after its start; last: it exited with code 3"
    )
