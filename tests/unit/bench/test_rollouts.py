"""What a rollout cost, judged from records: early ends of websockets, versions, exit codes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.rollout import NOWHERE, compose_text
from bench.rollouts import (
    CASES,
    Case,
    RolloutRun,
    Websockets,
    ended_early,
    failed,
    figures,
    unexpected,
    websockets,
)
from bench.seen import Seen
from deploy.compose import load as load_compose
from deploy.lab.sockets import Life
from deploy.lab.tally import Outcome
from shared import codec, keys
from shared.model import (
    AllocId,
    Endpoint,
    EndpointState,
    NodeName,
    PublishedPort,
    Routes,
    ServiceName,
    ServiceRoutes,
    StackName,
)
from tests.build import GIB, MIB

STACK = StackName("bench")
BEGAN_S = 1000.0
A, B = "198.19.1.2", "198.19.2.2"
NODE_1 = "198.19.1.0/24"
GOOD = Case(name="six")
BAD = Case(name="sick", tag="sick", is_good=False)


def routes(after_s: float, ready: list[str], draining: list[str] | None = None) -> Seen:
    states = [(address, EndpointState.READY) for address in ready]
    states += [(address, EndpointState.DRAINING) for address in draining or []]
    ends = tuple(
        Endpoint(allocation=AllocId(address), node=NodeName("n"), address=address, state=state)
        for address, state in states
    )
    port = PublishedPort(published=8080, target=80)
    service = ServiceRoutes(service=ServiceName("web"), ports=(port,), endpoints=ends)
    value = codec.encode(Routes(stack=STACK, services=(service,))).decode()
    return Seen(at_s=BEGAN_S + after_s, key=keys.routes(STACK), revision=1, value=value)


SEEN = [routes(-5.0, [A]), routes(10.0, [A, B]), routes(12.0, [B], [A]), routes(40.0, [B])]


def life(ended_s: float, replica: str = A, *, end: str = "gone") -> Life:
    return Life(
        number=0, asked_s=0.0, opened_s=0.1, ended_s=ended_s, end=end, replica=replica, echoes=2
    )


@pytest.mark.parametrize(
    ("one", "early"),
    [
        (life(11.9), 1),
        (life(12.1), 0),
        (life(41.0), 0),
        (life(41.0, B), 1),
        (life(5.0, end=""), 0),
        (Life(number=0, asked_s=0.0, ended_s=5.0, end="status 503"), 0),
    ],
)
def test_a_websocket_ends_early_if_its_replica_still_took_requests(one: Life, early: int) -> None:
    assert ended_early([one], SEEN, STACK, began_s=BEGAN_S) == [one] * early


def test_a_websocket_that_dies_with_its_host_did_not_end_early() -> None:
    lives = [life(5.0, A), life(11.0, A)]

    assert ended_early(lives, SEEN, STACK, began_s=BEGAN_S) == lives
    assert ended_early(lives, SEEN, STACK, began_s=BEGAN_S, dead=NODE_1) == []


def test_a_good_version_must_be_done_and_alone() -> None:
    assert unexpected(GOOD, exit_code=0, answered={"1": 5, "2": 5}, after={"2": 6}) == ()
    assert unexpected(GOOD, exit_code=6, answered={"1": 5}, after={"1": 4, "2": 2}) == (
        "the command ended with 6, not 0",
        "{'1': 4, '2': 2} take requests, not 6 of version 2",
    )
    assert len(unexpected(GOOD, exit_code=0, answered={}, after={"2": 5})) == 1


def test_of_a_bad_version_nobody_may_notice_anything() -> None:
    assert unexpected(BAD, exit_code=7, answered={"1": 5, "": 1}, after={"1": 6}) == ()
    assert unexpected(BAD, exit_code=0, answered={"1": 5, "sick": 2}, after={"1": 5}) == (
        "the command ended with 0",
        "a bad version answered 2 requests",
        "5 of 6 of version 1 are left",
    )


ENDS = st.lists(st.tuples(st.booleans(), st.sampled_from([200, 404, 503])), max_size=20)


@given(ENDS)
def test_failed_requests_are_counted_by_whether_they_can_be_repeated(
    ends: list[tuple[bool, int]],
) -> None:
    outcomes = [
        Outcome(target="web", due_s=0.0, ended_s=0.1, status=status, idempotent=idempotent)
        for idempotent, status in ends
    ]

    gets, posts = failed(outcomes, idempotent=True), failed(outcomes, idempotent=False)
    assert len(gets) + len(posts) == sum(status >= 400 for _, status in ends)
    assert all(each.idempotent and each.status >= 400 for each in gets)


def run(number: int, *, code: int = 0, took_s: float = 10.0) -> RolloutRun:
    return RolloutRun(
        case="six",
        number=number,
        requests=100,
        failed_idempotent=number,
        failed_other=0,
        errors={},
        websockets=websockets([life(12.5), life(20.0, B, end="")], early=1),
        worst_latency_s=0.1 * number,
        took_s=took_s,
        exit_code=code,
        verdict=("web: 6 of 6 ready", "done"),
        answered={"1": 60, "2": 40},
        versions_after={"2": 6},
        unexpected=("something",) if code else (),
    )


def test_all_runs_of_a_case_make_one_record() -> None:
    told = figures("six", [run(0), run(1), run(2, code=6, took_s=40.0)])

    assert (told.runs, told.requests, told.failed_idempotent) == (3, 300, 3)
    assert told.websockets == Websockets(
        opened=6, ended_early=3, dropped=3, reconnected=3, refused=0, echoes=12
    )
    assert (told.took_s.median, told.took_s.max) == (10.0, 40.0)
    assert told.exit_codes == {"0": 2, "6": 1}
    assert told.verdicts == {"web: 6 of 6 ready / done": 3}
    assert told.versions_after == {"6 of 2": 3}
    assert told.unexpected == ("something",)


def test_a_line_for_a_person_says_all_that_went_wrong() -> None:
    line = run(2, code=6).line()
    assert "exit 6 after 10.0 s, 2+0 of 100 failed" in line
    assert line.endswith("UNEXPECTED something")


def test_every_case_that_the_issue_asks_for_is_there() -> None:
    bad = {case.name for case in CASES if not case.is_good}
    assert bad == {"sick", "crash", "missing", "unplaceable"}
    assert {case.fault for case in CASES} == {"", "leader", "node"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_files_of_every_case_say_what_it_is_about(case: Case, tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    found = []
    for is_old in (True, False):
        file.write_text(compose_text(case, is_old=is_old))
        (service,) = load_compose([file], {}, None).services
        assert service.replicas == case.replicas
        found.append(service.workload)

    old, new = found
    assert (old.image, old.reservations.memory_bytes) == ("hafen.local/echo:1", 16 * MIB)
    assert old.healthcheck == new.healthcheck
    assert (new.reservations.memory_bytes > 500 * GIB) is (case.name == "unplaceable")
    assert new.image == (f"hafen.local/echo:{case.tag}" if case.tag else NOWHERE)
