"""What begins waits for what it depends on: on the first deploy, and on every update."""

import msgspec
import pytest

from shared.model import (
    AllocationStatus,
    Assignment,
    DependsOn,
    Health,
    RestartCondition,
    RestartPolicy,
    RolloutPhase,
    ServiceSpec,
    UpdatePolicy,
)
from shared.states import AllocState
from tests.build import running, service
from tests.unit.scheduler.shops import Shop, depending, ended, job, well


class Late:
    """Makes copies of one service ready, or ended, only when it is told to."""

    def __init__(self, name: str, state: AllocationStatus) -> None:
        self.name, self.state, self.is_over = name, state, False

    def __call__(self, held: Assignment, age_s: float) -> AllocationStatus:
        if held.service != self.name or self.is_over:
            done = held.service == self.name and held.workload.run
            return ended(held, AllocState.COMPLETE, 0) if done else well(held, age_s)
        return msgspec.structs.replace(self.state, id=held.id)


PULLING = msgspec.structs.replace(running("x.x.1.a"), state=AllocState.PREPARING)
STARTING = msgspec.structs.replace(running("x.x.1.a"), health=Health.STARTING)


@pytest.mark.parametrize(
    ("condition", "until", "said"),
    [
        (DependsOn.STARTED, PULLING, "waits for db: 0 of 1 started"),
        (DependsOn.HEALTHY, STARTING, "waits for db: 0 of 1 ready"),
    ],
)
def test_the_first_copies_wait_for_the_condition(
    condition: DependsOn, until: AllocationStatus, said: str
) -> None:
    late = Late("db", until)
    shop = Shop(service("db"), depending(service("web"), "db", condition), manner=late)
    shop.steps(6)
    assert shop.homes("web") == []
    assert shop.waiting() == {said}
    late.is_over = True
    shop.rest()
    assert len(shop.homes("web")) == 1


def test_a_service_waits_until_a_job_has_ended_well() -> None:
    late = Late("init", running("x.x.1.a"))
    web = depending(service("web"), "init", DependsOn.COMPLETED)
    shop = Shop(job("init"), web, manner=late)
    shop.steps(6)
    assert shop.homes("web") == []
    late.is_over = True
    shop.rest()
    assert len(shop.homes("web")) == 1


def test_an_update_waits_for_the_update_of_what_it_depends_on() -> None:
    web = depending(service("web"), "db", DependsOn.HEALTHY)
    late = Late("db", STARTING)
    late.is_over = True
    shop = Shop(service("db"), web, manner=late)
    shop.rest()
    late.is_over = False
    newer = depending(service("web", image="app:2"), "db", DependsOn.HEALTHY)
    shop.ask(service("db", image="db:2"), newer)
    shop.steps(10)
    assert {a.workload.image for a in shop.held("web")} == {"app:1"}
    late.is_over = True
    shop.rest()
    assert {a.workload.image for a in shop.held("web")} == {"app:2"}


def test_what_has_come_up_is_replaced_though_what_it_depends_on_is_not_well() -> None:
    late = Late("db", STARTING)
    late.is_over = True
    shop = Shop(service("db"), depending(service("web"), "db", DependsOn.HEALTHY), manner=late)
    shop.rest()
    late.is_over = False
    (home,) = shop.homes("web")
    shop.set_node(home, alive=False)
    shop.steps(10)
    assert len(shop.homes("web")) == 1
    assert shop.homes("web") != [home]


def test_who_waits_for_something_that_failed_fails_too_and_names_it() -> None:
    def never(held: Assignment, age_s: float) -> AllocationStatus:
        status = well(held, age_s)
        is_bad = held.workload.image == "bad:1"
        return msgspec.structs.replace(status, health=Health.STARTING) if is_bad else status

    policy = UpdatePolicy(progress_deadline_s=30.0, monitor_s=0.0)
    db, bad = (
        msgspec.structs.replace(service("db", image=image), update=policy)
        for image in ("app:1", "bad:1")
    )
    web, newer = (
        msgspec.structs.replace(
            depending(service("web", image=image), "db", DependsOn.HEALTHY), update=policy
        )
        for image in ("app:1", "app:2")
    )
    shop = Shop(db, web, manner=never)
    shop.rest()
    shop.ask(bad, newer)
    shop.rest()
    assert shop.phase("db") is RolloutPhase.ROLLED_BACK
    assert shop.phase("web") is RolloutPhase.ROLLED_BACK
    assert "waits for db" in shop.rollout("web").reason
    assert {a.workload.image for a in shop.held("web")} == {"app:1"}


def once(
    name: str, condition: RestartCondition = RestartCondition.ON_FAILURE, most: int | None = None
) -> ServiceSpec:
    """Return a service, no job, whose copies may end."""
    spec = service(name, image="once:1")
    policy = RestartPolicy(condition=condition, max_attempts=most)
    workload = msgspec.structs.replace(spec.workload, restart=policy)
    return msgspec.structs.replace(spec, workload=workload)


class Ending:
    """Runs `once:1` until it is told to let it end."""

    def __init__(self, state: AllocState = AllocState.COMPLETE, code: int = 0) -> None:
        self.state, self.code, self.is_over = state, code, False

    def __call__(self, held: Assignment, age_s: float) -> AllocationStatus:
        if held.workload.image == "once:1" and self.is_over:
            return ended(held, self.state, self.code, "it ended")
        return well(held, age_s)


def test_a_service_waits_until_another_one_that_is_no_job_has_ended_well() -> None:
    manner = Ending()
    web = depending(service("web"), "init", DependsOn.COMPLETED)
    shop = Shop(once("init"), web, manner=manner)
    shop.steps(6)
    assert shop.homes("web") == []
    assert shop.waiting() == {"waits for init: 0 of 1 completed"}
    manner.is_over = True
    shop.rest()
    assert len(shop.homes("web")) == 1
    assert {shop.phase("init"), shop.phase("web")} == {RolloutPhase.DONE}


def test_what_has_ended_well_is_an_update_that_is_done_and_never_runs_again() -> None:
    manner = Ending()
    manner.is_over = True
    shop = Shop(once("init", RestartCondition.NONE), manner=manner)
    shop.rest()
    assert shop.phase("init") is RolloutPhase.DONE
    before = shop.held("init")
    (home,) = shop.homes("init")
    shop.set_node(home, alive=False)
    shop.steps(20)
    assert shop.held("init") == before


def test_what_has_had_its_starts_is_tried_nowhere_else() -> None:
    manner = Ending(AllocState.FAILED, 5)
    manner.is_over = True
    shop = Shop(once("init", most=2), manner=manner)
    shop.steps(60)
    assert shop.phase("init") is RolloutPhase.FAILED
    before = shop.held("init")
    assert [a.attempt for a in before] == [0]
    (home,) = shop.homes("init")
    shop.set_node(home, alive=False)
    shop.steps(40)
    assert shop.held("init") == before
