"""What a node reports: states that only move forward, dates that only move with them."""

from node_agent.health import ProbeState
from node_agent.restart import Exits
from node_agent.runtime import Phase
from node_agent.status import Doing, statuses
from node_agent.track import Track
from shared.model import AllocationStatus, AllocId, Health
from shared.states import AllocState
from tests.build import assignment, container

A = AllocId("shop.web.1.a")
ASKED = {A: assignment(A)}
HEALTHY = Track(started_at=1.0, probed=ProbeState(health=Health.HEALTHY))


def test_a_running_healthy_container() -> None:
    assert statuses(ASKED, {A: container(A)}, {A: HEALTHY}, Doing(), {}, 50.0) == (
        AllocationStatus(
            id=A,
            state=AllocState.RUNNING,
            health=Health.HEALTHY,
            address="198.19.1.2",
            since_s=50.0,
        ),
    )


def test_one_that_starts_again_is_still_running_but_not_healthy() -> None:
    (status,) = statuses(ASKED, {A: container(A, Phase.EXITED)}, {A: HEALTHY}, Doing(), {}, 50.0)
    assert (status.state, status.health) == (AllocState.RUNNING, Health.STARTING)


def test_the_date_stays_while_nothing_has_changed() -> None:
    (first,) = statuses(ASKED, {A: container(A)}, {A: HEALTHY}, Doing(), {}, 50.0)
    (second,) = statuses(ASKED, {A: container(A)}, {A: HEALTHY}, Doing(), {A: first}, 99.0)
    assert second == first


def test_what_is_not_asked_for_is_on_its_way_out() -> None:
    (status,) = statuses({}, {A: container(A)}, {}, Doing(), {}, 0.0)
    assert status.state is AllocState.STOPPING


def test_a_failed_one_says_why() -> None:
    (status,) = statuses(ASKED, {}, {A: Track(failed="no such image")}, Doing(), {}, 0.0)
    assert (status.state, status.reason) == (AllocState.FAILED, "no such image")


def test_one_under_way_is_preparing_and_one_not_begun_is_pending() -> None:
    (busy,) = statuses(ASKED, {}, {}, Doing(frozenset({A})), {}, 0.0)
    (idle,) = statuses(ASKED, {}, {}, Doing(), {}, 0.0)
    assert (busy.state, idle.state) == (AllocState.PREPARING, AllocState.PENDING)


def test_one_that_has_ended_as_it_should_is_complete_with_its_code() -> None:
    complete = Track(is_complete=True, counted=1, exit_code=0, exits=Exits(count=1))
    (status,) = statuses(ASKED, {A: container(A, Phase.EXITED)}, {A: complete}, Doing(), {}, 0.0)
    assert (status.state, status.exit_code, status.restarts) == (AllocState.COMPLETE, 0, 0)
    (gone,) = statuses(ASKED, {}, {A: complete}, Doing(), {}, 0.0)
    assert gone.state is AllocState.COMPLETE
