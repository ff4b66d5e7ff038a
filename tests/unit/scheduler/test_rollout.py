"""Updates, good and bad: what serves goes on serving, the pace is kept, and every one ends."""

from collections import Counter
from typing import Final

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.strategy import is_alike
from shared.model import (
    AllocationStatus,
    Assignment,
    FailureAction,
    Health,
    Order,
    RolloutPhase,
    Ruling,
    ServiceName,
    ServiceSpec,
    UpdatePolicy,
    Verb,
    Want,
)
from shared.states import AllocState
from tests.build import service, stack
from tests.unit.scheduler.shops import STEPS_MAX, Shop, ended, well

WEB: Final = ServiceName("web")
DEADLINE_S: Final = 30.0


class Web(Shop):
    """One service; copies of the image bad:1 do as they are told."""

    def __init__(self, first: ServiceSpec, bad: str = "good") -> None:
        super().__init__(first, manner=self._manner)
        self.bad = bad
        self.rest()

    def update_to(self, spec: ServiceSpec, generation: int = 2, **said: Ruling) -> None:
        rulings = {WEB: said["ruling"]} if said else {}
        new = stack("shop", spec, generation=generation)
        self.ask_stack(msgspec.structs.replace(new, rulings=rulings))

    def _manner(self, held: Assignment, age_s: float) -> AllocationStatus:
        status = well(held, age_s)
        if held.workload.image != "bad:1":
            return status
        match self.bad:
            case "never":
                return msgspec.structs.replace(status, health=Health.STARTING)
            case "fails":
                return ended(held, AllocState.FAILED, 1, "no such image")
            case "crashes" if age_s >= 3:
                return msgspec.structs.replace(
                    status, health=Health.STARTING, restarts=1, exit_code=1
                )
            case _:
                return status


def spec(image: str = "app:1", replicas: int = 3, **policy: object) -> ServiceSpec:
    update = UpdatePolicy(progress_deadline_s=DEADLINE_S, **policy)  # type: ignore[arg-type]
    made = service(image=image, replicas=replicas, port=8080)
    return msgspec.structs.replace(made, update=update, rollback=update)


POLICIES = st.fixed_dictionaries(
    {
        "parallelism": st.integers(0, 3),
        "delay_s": st.sampled_from([0.0, 2.0]),
        "monitor_s": st.sampled_from([0.0, 5.0]),
    }
)
# A version that fails by itself is seen to by its monitor time; with none it would be let in.
BAD = st.sampled_from(["never", "fails", "crashes"])


def _open(cluster: Web) -> int:
    """Return how many slots are between two versions."""
    update = cluster.rollout()
    if update.stable is None:
        return 0
    slots: dict[int, set[bool]] = {}
    for a in cluster.held():
        if a.want is Want.RUN:
            slots.setdefault(a.slot, set()).add(a.workload == update.spec.workload)
    return sum(len(kinds) == 2 for kinds in slots.values())


def _run(cluster: Web, least: int, parallelism: int) -> None:
    """Let an update go on until nothing is under way, and look at every step."""
    for _ in range(STEPS_MAX):
        cluster.step()
        assert len(cluster.routed()) >= least, cluster.rollout()
        assert not parallelism or _open(cluster) <= parallelism, cluster.rollout()
        if cluster.rollout().is_settled and not cluster.step():
            return
    raise AssertionError(f"it does not end: {cluster.rollout()}")


@settings(max_examples=60)
@given(POLICIES, st.integers(1, 5), st.integers(1, 5))
def test_a_good_version_takes_over_at_its_pace_and_no_slot_is_ever_without_a_copy(
    policy: dict[str, float], before: int, after: int
) -> None:
    cluster = Web(spec("app:1", before, **policy))
    assert cluster.phase() is RolloutPhase.DONE
    new = spec("app:2", after, **policy)
    cluster.update_to(new)
    _run(cluster, min(before, after), int(policy["parallelism"]))
    assert cluster.phase() is RolloutPhase.DONE
    assert cluster.rollout().stable == new
    assert [(a.slot, a.workload.image) for a in sorted(cluster.held(), key=lambda a: a.slot)] == [
        (slot, "app:2") for slot in range(1, after + 1)
    ]


@settings(max_examples=60)
@given(POLICIES, st.integers(1, 4), st.integers(1, 4), BAD)
def test_a_bad_version_is_rolled_back_says_why_and_never_gets_a_request(
    policy: dict[str, float], replicas: int, then: int, manner: str
) -> None:
    policy = {**policy, "monitor_s": 5.0}
    old = spec("app:1", replicas, **policy)
    cluster = Web(old, manner)
    before = {a.id for a in cluster.held()}
    cluster.update_to(spec("bad:1", then, **policy))
    for _ in range(STEPS_MAX):
        cluster.step()
        assert cluster.images(cluster.routed()) == {"app:1"}
        assert len(cluster.routed()) >= replicas
        if cluster.rollout().is_settled and not cluster.step():
            break
    assert cluster.phase() is RolloutPhase.ROLLED_BACK
    assert {"never": "not ready within", "fails": "no such image", "crashes": "exit code 1"}[
        manner
    ] in cluster.rollout().reason
    assert cluster.rollout().spec == old, "the exact version comes back"
    assert {a.id for a in cluster.held()} == before, "what served was never touched"


def test_an_update_of_a_few_slots_that_then_fails_gives_them_their_old_version_back() -> None:
    cluster = Web(spec("app:1", 4, monitor_s=5.0))
    cluster.bad = "good"
    cluster.update_to(spec("bad:1", 4, monitor_s=5.0))
    while cluster.images(cluster.routed()) != {"app:1", "bad:1"}:
        cluster.step()
    cluster.bad = "never"
    cluster.began = {}
    cluster.rest()
    assert cluster.phase() is RolloutPhase.ROLLED_BACK
    assert {a.workload.image for a in cluster.held()} == {"app:1"}
    assert len(cluster.routed()) == 4


@given(st.integers(1, 3), st.integers(0, 20))
def test_an_update_that_overtakes_another_takes_no_more_copies_away_than_it_may(
    parallelism: int, after: int
) -> None:
    policy = UpdatePolicy(parallelism=parallelism, order=Order.STOP_FIRST)

    def version(number: int) -> ServiceSpec:
        made = service(image=f"app:{number}", replicas=4, port=8080)
        return msgspec.structs.replace(made, update=policy)

    cluster = Web(version(1))
    cluster.update_to(version(2))
    cluster.steps(after)
    cluster.update_to(version(3), generation=3)
    for _ in range(STEPS_MAX):
        wrote = cluster.step()
        assert len(cluster.routed()) >= 4 - parallelism
        if cluster.rollout().is_settled and not wrote:
            break
    assert cluster.phase() is RolloutPhase.DONE
    assert [a.workload.image for a in cluster.held()] == ["app:3"] * 4


def test_a_paused_update_waits_for_a_person_and_goes_the_way_that_is_said() -> None:
    policy = {"monitor_s": 5.0, "failure_action": FailureAction.PAUSE}
    for verb, phase in ((Verb.PROMOTE, RolloutPhase.DONE), (Verb.ABORT, RolloutPhase.ROLLED_BACK)):
        cluster = Web(spec("app:1", 2, **policy), "fails")
        new = spec("bad:1", 2, **policy)
        cluster.update_to(new)
        cluster.rest()
        assert cluster.phase() is RolloutPhase.PAUSED
        assert "no such image" in cluster.rollout().reason
        assert len(cluster.routed()) == 2
        cluster.bad = "good"
        cluster.update_to(new, ruling=Ruling(verb=verb, generation=2))
        cluster.rest()
        assert cluster.phase() is phase


def test_a_canary_serves_beside_the_old_ones_until_it_is_promoted() -> None:
    cluster = Web(spec("app:1", 3, canary=1, monitor_s=5.0))
    new = spec("app:2", 3, canary=1, monitor_s=5.0)
    cluster.update_to(new)
    cluster.rest()
    assert cluster.phase() is RolloutPhase.CANARY
    assert sorted(a.workload.image for a in cluster.held()) == ["app:1"] * 3 + ["app:2"]
    assert len(cluster.routed()) == 4, "it takes its share"
    cluster.update_to(new, ruling=Ruling(verb=Verb.PROMOTE, generation=2))
    _run(cluster, 3, 0)
    assert {a.workload.image for a in cluster.held()} == {"app:2"}


def test_as_many_canaries_as_replicas_are_a_second_colour_that_nobody_sees_before() -> None:
    cluster = Web(spec("app:1", 2, canary=2, monitor_s=5.0))
    new = spec("app:2", 2, canary=2, monitor_s=5.0)
    cluster.update_to(new)
    cluster.rest()
    assert cluster.phase() is RolloutPhase.CANARY
    assert len(cluster.held()) == 4
    assert cluster.images(cluster.routed()) == {"app:1"}
    cluster.update_to(new, ruling=Ruling(verb=Verb.PROMOTE, generation=2))
    cluster.rest()
    assert cluster.phase() is RolloutPhase.DONE
    assert cluster.images(cluster.routed()) == {"app:2"}


def test_canaries_that_may_are_promoted_by_time() -> None:
    policy = {"canary": 1, "monitor_s": 5.0, "auto_promote_s": 60.0}
    cluster = Web(spec("app:1", 2, **policy))
    cluster.update_to(spec("app:2", 2, **policy))
    began = cluster.now
    cluster.rest()
    assert cluster.phase() is RolloutPhase.DONE
    assert cluster.now - began >= 60.0


@settings(max_examples=60)
@given(st.integers(1, 5), st.integers(0, 5))
def test_another_number_of_replicas_or_another_label_replaces_nothing(
    before: int, after: int
) -> None:
    cluster = Web(spec("app:1", before))
    kept = {a.slot: a.id for a in cluster.held()}
    scaled = spec("app:1", after)
    labelled = msgspec.structs.replace(
        scaled, workload=msgspec.structs.replace(scaled.workload, labels={"team": "red"})
    )
    assert is_alike(scaled, labelled)
    cluster.update_to(labelled)
    cluster.rest()
    assert cluster.phase() is RolloutPhase.DONE
    found = {a.slot: a.id for a in cluster.held()}
    assert found.keys() == set(range(1, after + 1))
    assert all(found[slot] == kept[slot] for slot in found.keys() & kept.keys())


def test_a_version_that_was_rolled_back_is_tried_again_by_the_next_deploy() -> None:
    cluster = Web(spec("app:1", 2, monitor_s=5.0), "fails")
    cluster.update_to(spec("bad:1", 2, monitor_s=5.0))
    cluster.rest()
    assert cluster.phase() is RolloutPhase.ROLLED_BACK
    cluster.bad = "good"
    cluster.update_to(spec("bad:1", 2, monitor_s=5.0), generation=3)
    cluster.rest()
    assert cluster.phase() is RolloutPhase.DONE


def test_a_first_version_that_fails_is_tried_on_and_on_and_says_so() -> None:
    cluster = Web(spec("bad:1", 1, monitor_s=5.0), "fails")
    assert cluster.phase() is RolloutPhase.FAILED
    assert "no such image" in cluster.rollout().reason
    cluster.bad = "good"
    for _ in range(STEPS_MAX):
        cluster.step()
        if cluster.phase() is RolloutPhase.DONE:
            break
    assert cluster.phase() is RolloutPhase.DONE


def test_the_next_image_is_fetched_wherever_copies_are_before_any_of_them_is_touched() -> None:
    cluster = Web(spec("app:1", 3, monitor_s=5.0))
    cluster.update_to(spec("app:2", 3, monitor_s=5.0))
    cluster.step()
    ahead = {
        name
        for name, state in cluster.world.nodes.items()
        if state.manifest is not None
        and "app:2" in {*state.manifest.images, *(a.workload.image for a in state.assignments)}
    }
    assert ahead == cluster.world.nodes.keys()
    assert {a.want for a in cluster.held()} == {Want.RUN}


def test_an_update_leaves_a_service_as_spread_as_it_was() -> None:
    for replicas in (2, 3, 4, 6):
        shop = Shop(service(replicas=replicas))
        shop.rest()
        before = sorted(Counter(shop.homes()).values())
        shop.ask(service(replicas=replicas, image="app:2"))
        shop.rest()
        assert sorted(Counter(shop.homes()).values()) == before


def test_a_canary_that_is_stopped_has_proven_nothing() -> None:
    policy = {"canary": 1, "monitor_s": 5.0}
    cluster = Web(spec("app:1", 2, **policy))
    new = spec("app:2", 2, **policy)
    cluster.update_to(new)
    cluster.rest()
    assert cluster.phase() is RolloutPhase.CANARY
    cluster.update_to(msgspec.structs.replace(new, is_stopped=True), generation=3)
    cluster.rest()
    assert cluster.held() == []
    assert cluster.phase() is RolloutPhase.DONE
    cluster.update_to(new, generation=4)
    cluster.rest()
    assert cluster.phase() is RolloutPhase.CANARY
