"""Jobs: each version runs once, each moment once, and what fails is not tried for ever."""

from datetime import UTC, datetime, timedelta

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from scheduler import cron
from scheduler.jobs import ATTEMPTS_MAX
from shared.model import (
    AllocationStatus,
    Assignment,
    Mode,
    Overlap,
    RestartPolicy,
    RolloutPhase,
    Schedule,
)
from shared.states import AllocState
from tests.build import running
from tests.unit.scheduler.shops import Shop, ended, job

TAKES_S = 5.0


def works(held: Assignment, age_s: float) -> AllocationStatus:
    """End well after a while."""
    if age_s < TAKES_S:
        return running(held.id)
    return ended(held, AllocState.COMPLETE, 0)


def fails(held: Assignment, age_s: float) -> AllocationStatus:
    return ended(held, AllocState.FAILED, 3, "it exited with code 3") if age_s else running(held.id)


def test_a_job_runs_to_its_end_once_and_stays_to_be_read() -> None:
    shop = Shop(job(replicas=3), manner=works)
    shop.rest()
    assert shop.phase("job") is RolloutPhase.DONE
    before = [a.id for a in shop.held("job")]
    assert [a.slot for a in shop.held("job")] == [1, 2, 3]
    shop.steps(5)
    shop.lose("node-1")
    shop.steps(5)
    assert {a.id for a in shop.held("job")} <= set(before), "what is done is not done again"


def test_at_most_so_many_copies_run_at_a_time() -> None:
    shop = Shop(job(replicas=5, max_concurrent=2), manner=works)
    most = 0
    for _ in range(40):
        shop.step()
        busy = [a for a in shop.held("job") if shop.now - shop.began.get(a.id, 0.0) < TAKES_S]
        most = max(most, len(busy))
        if shop.phase("job") is RolloutPhase.DONE:
            break
    assert shop.phase("job") is RolloutPhase.DONE
    assert most == 2


def test_another_version_runs_anew_and_takes_the_place_of_the_one_before() -> None:
    shop = Shop(job(), manner=works)
    shop.rest()
    (before,) = shop.held("job")
    shop.ask(job(image="job:2"))
    shop.rest()
    (after,) = shop.held("job")
    assert (before.workload.run, after.workload.run) == (1, 2)
    assert after.workload.image == "job:2"


def test_a_job_that_keeps_failing_is_given_up_and_says_why() -> None:
    shop = Shop(job(), manner=fails)
    shop.rest()
    assert shop.phase("job") is RolloutPhase.FAILED
    assert "exited with code 3" in shop.rollout("job").reason
    (last,) = shop.held("job")
    assert last.attempt == ATTEMPTS_MAX - 1


def test_attempts_that_were_counted_on_the_node_are_not_made_elsewhere_again() -> None:
    spec = job()
    restart = RestartPolicy(max_attempts=2)
    workload = msgspec.structs.replace(spec.workload, restart=restart)
    shop = Shop(msgspec.structs.replace(spec, workload=workload), manner=fails)
    shop.rest()
    assert shop.phase("job") is RolloutPhase.FAILED
    assert [a.attempt for a in shop.held("job")] == [0]


def test_a_global_job_runs_once_on_every_node() -> None:
    shop = Shop(msgspec.structs.replace(job(), mode=Mode.GLOBAL_JOB), manner=works)
    shop.rest()
    assert shop.phase("job") is RolloutPhase.DONE
    assert shop.homes("job") == ["node-1", "node-2", "node-3"]


def scheduled(overlap: Overlap = Overlap.SKIP) -> Shop:
    """Return a shop with a job every ten minutes, at rest."""
    spec = job(schedule=Schedule(cron="*/10 * * * *", overlap=overlap))
    shop = Shop(spec, manner=works)
    shop.rest()
    return shop


def test_a_scheduled_job_begins_at_its_moments_and_at_no_moment_that_was_before() -> None:
    shop = scheduled()
    assert shop.held("job") == [], "the moment before it was deployed is past"
    runs = []
    while shop.now < 3600:
        shop.step()
        runs += [a.workload.run for a in shop.held("job") if a.workload.run not in runs]
    assert runs == [1, 2, 3, 4, 5, 6]


def test_a_moment_that_comes_while_the_run_before_is_on_is_skipped_or_replaces_it() -> None:
    for overlap, runs in ((Overlap.SKIP, 1), (Overlap.REPLACE, 3)):
        shop = scheduled(overlap)
        shop.manner = lambda held, _: running(held.id)
        while shop.now < 1900:
            shop.step()
        assert shop.rollout("job").run == runs
        assert len(shop.held("job")) == 1


MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(  # noqa: DTZ001 - made aware
    lambda moment: moment.replace(tzinfo=UTC)
)


@given(MOMENTS, st.integers(0, 59), st.integers(0, 23))
def test_the_moments_around_now_are_a_day_apart_for_a_daily_job(
    now: datetime, minute: int, hour: int
) -> None:
    found = cron.due(Schedule(cron=f"{minute} {hour} * * *"), now.timestamp())
    assert found.last_s is not None
    assert found.next_s is not None
    assert found.last_s <= now.timestamp() < found.next_s
    assert found.next_s - found.last_s == timedelta(days=1).total_seconds()


def test_a_schedule_that_is_none_is_told_with_what_is_wrong() -> None:
    assert "five cron fields" in cron.problem(Schedule(cron="61 * * * *"))
    assert "no time zone" in cron.problem(Schedule(cron="* * * * *", timezone="Mars/Olympus"))
    assert cron.problem(Schedule(cron="* * * * *", timezone="Europe/Berlin")) == ""
