"""An update's story: what is told of it, from records alone."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.lab.moments import Moment
from deploy.lab.tally import LoadReport, Outcome, Tally
from deploy.lab.updates import (
    DONE,
    ROLLED_BACK,
    Sample,
    Update,
    sample,
    update_problems,
    update_summary,
    update_timeline,
)
from deploy.lab.view import update_lines
from shared.api import AllocationView
from shared.model import AllocId, Health, NodeName, ServiceName, StackName
from shared.states import AllocState

WEB = ServiceName("web")
BEGAN_S = 1000.0


def load(sent: int = 10, failed: int = 0) -> tuple[LoadReport, ...]:
    tally = Tally(["web"], began_at_s=BEGAN_S)
    for number in range(sent):
        status = 503 if number < failed else 200
        tally.sent(number, "web", due_s=0.0, now_s=0.0)
        tally.ended(number, Outcome(target="web", due_s=0.0, ended_s=0.02, status=status))
    return (tally.report(1.0, final=True),)


def samples(*told: tuple[float, dict[str, int], str]) -> tuple[Sample, ...]:
    return tuple(
        Sample(at_s=BEGAN_S + after_s, ready=ready, is_tried=after_s > 1.0, trouble=trouble)
        for after_s, ready, trouble in told
    )


GOOD = Update(
    service=WEB,
    replicas=3,
    before="1",
    version="2",
    expected=DONE,
    began_at_s=BEGAN_S,
    took_s=4.0,
    exit_code=DONE,
    said=("web: 3 of 3 ready", "3 of 3 replicas ready"),
    samples=samples(
        (0.5, {"1": 3}, ""),
        (1.5, {"1": 3}, ""),
        (2.0, {"1": 2, "2": 1}, ""),
        (2.2, {"1": 2, "2": 1}, ""),
        (3.0, {"2": 3}, ""),
        (5.0, {"2": 3}, ""),
    ),
    reports=load(),
)
BAD = msgspec.structs.replace(
    GOOD,
    before="2",
    version="crash",
    expected=ROLLED_BACK,
    exit_code=ROLLED_BACK,
    said=("rolled back to generation 2",),
    samples=samples(
        (0.5, {"2": 3}, ""),
        (1.5, {"2": 3}, ""),
        (3.5, {"2": 3}, "it ended with code 1"),
        (3.7, {"2": 3}, "it ended with code 1"),
        (5.0, {"2": 3}, ""),
    ),
)


def test_a_good_update_is_told_replica_by_replica() -> None:
    told = [(moment.what, moment.after_s, moment.detail) for moment in update_timeline(GOOD)]

    assert told == [
        ("deployed", 0.0, "web to 2"),
        ("tried", 1.5, "the first replica of version 2 is made"),
        ("ready", 2.0, "1 of 3 replicas have version 2"),
        ("ready", 3.0, "3 of 3 replicas have version 2"),
        ("ended", 4.0, "exit code 0: 3 of 3 replicas ready"),
    ]
    assert update_problems(GOOD) == ()


def test_a_bad_one_is_told_with_its_trouble_and_how_the_command_ended() -> None:
    assert [moment.what for moment in update_timeline(BAD)] == [
        "deployed",
        "tried",
        "trouble",
        "ended",
    ]
    assert update_timeline(BAD)[2] == Moment(
        what="trouble", after_s=3.5, detail="it ended with code 1"
    )
    assert update_problems(BAD) == ()


def test_what_is_seen_after_the_command_has_ended_is_told_after_it() -> None:
    early = msgspec.structs.replace(GOOD, took_s=2.5)

    assert [moment.what for moment in update_timeline(early)] == [
        "deployed",
        "tried",
        "ready",
        "ended",
        "ready",
    ]


@given(
    st.lists(
        st.tuples(st.floats(0.0, 10.0), st.integers(0, 3), st.booleans(), st.booleans()),
        max_size=20,
    ),
    st.floats(0.0, 10.0),
)
def test_a_timeline_is_in_order_and_says_each_thing_once(
    told: list[tuple[float, int, bool, bool]], took_s: float
) -> None:
    seen = tuple(
        Sample(
            at_s=BEGAN_S + after_s,
            ready={"2": count},
            is_tried=is_tried,
            trouble="bad" if is_ill else "",
        )
        for after_s, count, is_tried, is_ill in sorted(told)
    )
    found = update_timeline(msgspec.structs.replace(GOOD, samples=seen, took_s=took_s))

    times = [moment.after_s for moment in found]
    assert times == sorted(time_s for time_s in times if time_s is not None)
    kinds = [moment.what for moment in found]
    assert all(kinds.count(what) == 1 for what in ("deployed", "ended"))
    assert all(kinds.count(what) <= 1 for what in ("tried", "trouble"))
    assert kinds.count("ready") <= 3


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"reports": load(failed=2)}, "web to 2: 2 of 10 requests to web failed: status 503 (2)"),
        ({"reports": ()}, "web to 2: no request was sent, so nothing is proved"),
        ({"exit_code": 6}, "web to 2: exit code 6: 3 of 3 replicas ready; expected 0"),
        ({"samples": GOOD.samples[:3]}, "web to 2: 2 of 1, 1 of 2 ready, expected 3 of 2"),
        ({"samples": ()}, "web to 2: none ready, expected 3 of 2"),
    ],
)
def test_everything_that_goes_wrong_is_a_problem(changes: dict[str, object], sentence: str) -> None:
    assert update_problems(msgspec.structs.replace(GOOD, **changes)) == (sentence,)


def test_a_bad_version_that_stays_is_a_problem_whatever_the_command_says() -> None:
    stays = msgspec.structs.replace(BAD, samples=samples((4.0, {"crash": 3}, "")))

    assert update_problems(stays) == ("web to crash: 3 of crash ready, expected 3 of 2",)


def test_a_summary_has_the_figures_and_the_table_shows_them() -> None:
    assert msgspec.to_builtins(update_summary(BAD)) == {
        "version": "crash",
        "exit_code": 7,
        "took_s": 4.0,
        "requests_sent": 10,
        "requests_failed": 0,
        "latency_ms_max": 20.0,
        "ready": {"2": 3},
    }
    assert update_lines([GOOD, BAD]) == [
        "  UPDATE          SENT  FAILED  WORST LATENCY   TOOK  EXIT CODE    THEN",
        "  web 1 -> 2        10       0         0.02 s  4.0 s          0  3 of 2",
        "  web 2 -> crash    10       0         0.02 s  4.0 s          7  3 of 2",
    ]


def allocation(
    tag: str,
    state: AllocState = AllocState.RUNNING,
    health: Health = Health.HEALTHY,
    *,
    draining: bool = False,
    restarts: int = 0,
    reason: str = "",
) -> AllocationView:
    return AllocationView(
        id=AllocId(f"whoami.web.1.{tag}"),
        stack=StackName("whoami"),
        service=WEB,
        slot=1,
        node=NodeName("node-1"),
        image=f"hafen.local/whoami:{tag}",
        state=state,
        health=health,
        draining=draining,
        restarts=restarts,
        reason=reason,
    )


def test_a_sample_counts_only_replicas_that_take_requests() -> None:
    found = sample(
        [
            allocation("1"),
            allocation("1", draining=True),
            allocation("2"),
            allocation("2", health=Health.STARTING),
            allocation("2", AllocState.PREPARING, Health.STARTING),
            msgspec.structs.replace(allocation("2"), service=ServiceName("other")),
        ],
        WEB,
        "2",
        BEGAN_S,
    )

    assert found == Sample(at_s=BEGAN_S, ready={"1": 1, "2": 1}, is_tried=True)


def test_a_sample_tells_the_trouble_of_the_new_version_and_of_no_other() -> None:
    old = allocation("1", restarts=3, reason="old and weak")
    assert sample([old], WEB, "2", BEGAN_S).trouble == ""
    ill = allocation("2", restarts=1, reason="it ended with code 1")
    assert sample([old, ill], WEB, "2", BEGAN_S).trouble == "it ended with code 1"
    failed = allocation("2", AllocState.FAILED)
    assert sample([failed], WEB, "2", BEGAN_S).trouble == "it ended by itself"
