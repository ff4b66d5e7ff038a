"""The demo's story: what is told of a power cut, from records alone."""

from collections.abc import Mapping, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.lab.moments import Moment
from deploy.lab.story import Scene, outcomes, problems, silence, summary, timeline
from deploy.lab.tally import LoadReport, Outcome, Tally
from deploy.lab.updates import DONE, Sample, Update
from shared.model import Event, NodeName, ServiceName, StackName

BEGAN_S = 1_000.0  # the load's second 0 on the wall clock
CUT_S = 1_005.0  # five seconds into the load
SINGLE, WEB = ServiceName("single"), ServiceName("web")


def load(
    answers: Mapping[str, Sequence[float]], failures: Mapping[str, Sequence[float]] | None = None
) -> tuple[LoadReport, ...]:
    """Return reports, one a second, of requests that ended at these seconds and took 10 ms."""
    ends = [(end_s, name, 200) for name, times in answers.items() for end_s in times]
    ends += [(end_s, name, 503) for name, times in (failures or {}).items() for end_s in times]
    tally = Tally(answers, began_at_s=BEGAN_S)
    reports: list[LoadReport] = []
    for number, (end_s, name, status) in enumerate(sorted(ends)):
        while end_s > len(reports) + 1:
            reports.append(tally.report(len(reports) + 1.0, final=False))
        due_s = end_s - 0.01
        tally.sent(number, name, due_s=due_s, now_s=due_s)
        tally.ended(number, Outcome(target=name, due_s=due_s, ended_s=end_s, status=status))
    return (*reports, tally.report(len(reports) + 1.0, final=True))


def event(kind: str, subject: str, after_s: float, node: str = "") -> Event:
    return Event(
        kind=kind, subject=subject, reason="why", at_s=CUT_S + after_s, node=NodeName(node)
    )


def steady(until_s: float, *, hole: tuple[float, float] = (0.0, 0.0)) -> list[float]:
    """Return ten answers a second up to `until_s`, none strictly inside `hole`."""
    times = [tenth / 10 for tenth in range(1, int(until_s * 10) + 1)]
    return [time_s for time_s in times if not hole[0] < time_s < hole[1]]


def scene(**changes: object) -> Scene:
    good = Scene(
        stack=StackName("whoami"),
        victim=NodeName("node-2"),
        alone=SINGLE,
        killed_at_s=CUT_S,
        address="198.18.0.240",
        holder=NodeName("node-1"),
        claimed_at_s=CUT_S + 0.5,
        replicas={WEB: 3, SINGLE: 1},
        ready={WEB: 3, SINGLE: 1},
        events=(
            event("placed", "whoami.single.1", -4.0, "node-2"),
            event("node_suspect", "node-2", 1.9),
            event("node_lost", "node-3", 2.0),
            event("node_lost", "node-2", 2.4),
            event("placed", "whoami.single-other.1", 2.4, "node-1"),
            event("placed", "whoami.single.1", 2.5, "node-3"),
        ),
        reports=load({"web": steady(12.0), "single": steady(12.0, hole=(5.0, 7.9))}),
    )
    return msgspec.structs.replace(good, **changes)


def test_the_timeline_counts_from_the_power_cut_and_takes_the_first_event_after_it() -> None:
    told = [(moment.what, moment.after_s, moment.detail) for moment in timeline(scene())]

    assert told == [
        ("vanished", 0.0, "node-2 lost its power"),
        ("suspected", pytest.approx(1.9), "node-2: why"),
        ("confirmed", pytest.approx(2.4), "node-2: why"),
        ("re-placed", pytest.approx(2.5), "whoami.single.1 on node-3: why"),
        ("answering", pytest.approx(2.9), "single answers again"),
    ]


def test_what_did_not_happen_is_said() -> None:
    reports = load({"web": steady(12.0), "single": steady(4.9)})

    assert timeline(scene(events=(), reports=reports))[1:] == (
        Moment(what="suspected", after_s=None, detail="no node_suspect event was seen"),
        Moment(what="confirmed", after_s=None, detail="no node_unreachable event was seen"),
        Moment(what="re-placed", after_s=None, detail="no placed event was seen"),
        Moment(what="answering", after_s=None, detail="single did not answer"),
    )


def test_a_good_end_has_no_problems_and_a_summary_with_every_service() -> None:
    good = scene()

    assert problems(good) == ()
    assert msgspec.to_builtins(summary(good)) == {
        "node_killed": "node-2",
        "requests_sent": 120 + 92,
        "requests_failed": 0,
        "requests_on_holder": 0,
        "latency_ms_max": pytest.approx(10.0),
        "services": {
            "single": {"replicas": 1, "failover_s": pytest.approx(2.9)},
            "web": {"replicas": 3, "failover_s": pytest.approx(0.1)},
        },
        "detected_s": pytest.approx(1.9),
        "decided_s": pytest.approx(2.5),
        "answering_s": pytest.approx(2.9),
        "address_claimed_s": pytest.approx(0.5),
    }


def test_a_host_whose_peers_agree_is_confirmed_before_its_lease_ends() -> None:
    fast = (
        event("node_unreachable", "node-2", 0.4),
        event("activated", "whoami.single.1", 0.5, "node-3"),
        event("node_suspect", "node-2", 1.9),
        event("node_lost", "node-2", 2.4),
    )

    told = {moment.what: moment.after_s for moment in timeline(scene(events=fast))}

    assert told["suspected"] == told["confirmed"] == pytest.approx(0.4)
    assert told["re-placed"] == pytest.approx(0.5)


def test_a_failed_request_is_a_problem_even_when_all_is_well_again() -> None:
    reports = load({"web": steady(12.0), "single": steady(12.0)}, {"web": [6.0, 6.1]})

    assert problems(scene(reports=reports)) == ("web: 2 of 122 requests failed: status 503 (2)",)


def test_an_update_that_went_wrong_is_a_problem_of_the_whole_demo() -> None:
    update = Update(
        service=WEB,
        replicas=3,
        before="1",
        version="2",
        expected=DONE,
        began_at_s=CUT_S + 10.0,
        took_s=4.0,
        exit_code=6,
        said=("it does not come up",),
        samples=(Sample(at_s=CUT_S + 14.0, ready={"2": 3}),),
        reports=load({"web": steady(2.0)}),
    )

    told = scene(updates=(update,))

    assert problems(told) == ("web to 2: exit code 6: it does not come up; expected 0",)
    assert [each.exit_code for each in summary(told).updates] == [6]


def test_a_service_that_stays_away_is_a_problem_and_its_failover_is_null() -> None:
    reports = load({"web": steady(12.0), "single": steady(4.9)})
    bad = scene(reports=reports, ready={WEB: 3})

    assert problems(bad) == (
        "single: did not answer again after node-2 vanished",
        "single: 0 of 1 replicas are ready",
    )
    assert msgspec.to_builtins(summary(bad))["services"]["single"]["failover_s"] is None


def test_a_service_whose_last_answer_is_a_failure_did_not_come_back() -> None:
    reports = load({"web": steady(12.0), "single": steady(6.0)}, {"single": [11.0]})

    assert outcomes(scene(reports=reports))[0].failover_s is None


def test_silence_of_the_load_proves_nothing() -> None:
    assert problems(scene(reports=()))[0] == "single: no request was sent, so nothing is proved"


def test_a_service_that_first_answers_after_the_cut_was_silent_since_the_cut() -> None:
    gap = silence(load({"single": [8.0]}), "single", CUT_S)

    assert gap is not None
    assert gap.began_s == 0.0
    assert gap.ended_s == pytest.approx(3.0)


@given(st.floats(0.0, 4.9), st.floats(5.5, 11.0))
def test_silence_is_counted_from_the_cut_however_long_before_it_began(
    hole_s: float, back_s: float
) -> None:
    ends = [hole_s, back_s, *(tenth / 10 for tenth in range(int(back_s * 10) + 1, 120))]
    gap = silence(load({"single": ends}), "single", CUT_S)

    assert gap is not None
    assert gap.began_s == 0.0
    assert gap.ended_s == pytest.approx(back_s - 5.0)
