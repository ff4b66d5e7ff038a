"""The moments of a failover, found in what was written to etcd; and the stretches between them."""

from hypothesis import given
from hypothesis import strategies as st

from bench.phases import median_run, phases
from bench.results import RunRecord, record_of, spread
from bench.seen import Case, Moments, Seen, moments, silence_s, slowest_s
from deploy.lab.tally import Outcome
from shared import codec, keys
from shared.model import (
    AllocationStatus,
    AllocId,
    Endpoint,
    Event,
    Health,
    Manifest,
    NodeName,
    PublishedPort,
    Record,
    Report,
    Resources,
    Routes,
    ServiceName,
    ServiceRoutes,
    Silence,
    StackName,
    Suspicion,
    Want,
)
from shared.states import AllocState
from tests.build import assignment, service

FAULT_S = 1000.0
OLD, NEW = AllocId("shop.web.1.a"), AllocId("shop.web.1.b")
CASE = Case(victim="node-1", stack=StackName("shop"), service=ServiceName("web"), at_s=FAULT_S)


def wrote(after_s: float, key: str, value: Record | None) -> Seen:
    text = None if value is None else codec.encode(value).decode()
    return Seen(at_s=FAULT_S + after_s, key=key, revision=1, value=text)


def manifest(after_s: float, node: str, *ids: AllocId, want: Want = Want.RUN) -> Seen:
    asked = tuple(assignment(id_, service().workload, want=want) for id_ in ids)
    name = NodeName(node)
    return wrote(after_s, keys.desired(name), Manifest(node=name, generation=1, assignments=asked))


def suspected(after_s: float, peer: str) -> Seen:
    node, by = NodeName("node-1"), NodeName(peer)
    return wrote(
        after_s, keys.suspect(node, by), Suspicion(node=node, peer=by, silence=Silence.HOST)
    )


def test_a_failover_is_found_in_what_was_written() -> None:
    report = Report(
        node=NodeName("node-2"),
        capacity=Resources(),
        allocations=(AllocationStatus(id=NEW, state=AllocState.RUNNING, health=Health.HEALTHY),),
    )
    end = Endpoint(allocation=NEW, node=NodeName("node-2"), address="10.0.0.2")
    routes = Routes(
        stack=StackName("shop"),
        services=(
            ServiceRoutes(
                service=ServiceName("web"),
                ports=(PublishedPort(published=80, target=80),),
                endpoints=(end,),
            ),
        ),
    )
    placed = Event(kind="node_unreachable", subject="node-1", reason="why", at_s=FAULT_S + 0.5)
    seen = [
        manifest(-9.0, "node-1", OLD),
        manifest(-8.0, "node-2", NEW, want=Want.STANDBY),
        suspected(-5.0, "node-2"),
        wrote(-4.0, keys.suspect(NodeName("node-1"), NodeName("node-2")), None),
        suspected(0.3, "node-2"),
        suspected(0.4, "node-3"),
        wrote(0.51, keys.event("1"), placed),
        manifest(0.6, "node-1", OLD),
        manifest(0.7, "node-2", NEW),
        wrote(0.9, keys.observed(NodeName("node-2")), report),
        wrote(1.0, keys.routes(StackName("shop")), routes),
    ]

    found = moments(CASE, seen, [(OLD, FAULT_S - 9), (OLD, FAULT_S + 0.1), (NEW, FAULT_S + 0.8)])

    told = [found.detected, found.confirmed, found.decided, found.started, found.reported]
    assert [round(each or 0.0, 6) for each in told] == [0.3, 0.4, 0.7, 0.8, 0.9]
    assert round(found.routed or 0.0, 6) == 1.0
    assert found.takeover is None


def test_without_suspicions_the_end_of_the_session_is_the_first_sign() -> None:
    found = moments(CASE, [wrote(2.0, keys.NODES + "node-1/alive", None)], [])

    assert found == Moments(detected=2.0)


def outcome(due_s: float, ended_s: float, status: int = 200, *, get: bool = True) -> Outcome:
    return Outcome(target="web", due_s=due_s, ended_s=ended_s, status=status, idempotent=get)


def test_silence_counts_from_the_fault_and_to_the_first_answer() -> None:
    answers = [outcome(t / 10, t / 10) for t in range(1, 50)]
    late = [outcome(5.1, 7.5), outcome(7.6, 7.6)]
    posts = [outcome(5.2, 5.2, get=False)]

    assert silence_s([*answers, *posts, *late], 5.0) == 2.5
    assert slowest_s([*answers, *posts, *late], 5.0) == 7.5 - 5.1
    assert silence_s(answers, 5.0) is None
    assert silence_s([*answers, *late, outcome(8.0, 8.0, 503)], 5.0) is None


at = st.none() | st.floats(0.0, 5.0)
all_moments = st.builds(
    Moments,
    detected=at,
    confirmed=at,
    decided=at,
    started=at,
    reported=at,
    routed=at,
    answering=st.floats(0.1, 5.0),
)


@given(all_moments)
def test_the_stretches_of_a_failover_follow_each_other_and_end_with_the_answer(
    told: Moments,
) -> None:
    found = phases(told)

    now_s = 0.0
    for phase in found:
        assert abs(phase.began_s - now_s) < 1e-9
        assert phase.seconds > 0
        now_s = phase.began_s + phase.seconds
    assert abs(now_s - (told.answering or 0.0)) < 1e-9


def run(answering: float | None) -> RunRecord:
    return RunRecord(
        fault="vanish",
        service="single",
        nodes=3,
        number=1,
        victim="node-1",
        entry="node-2",
        moments=Moments(answering=answering),
        requests=10,
        failed_idempotent=0,
        failed_other=1,
    )


@given(st.lists(st.none() | st.floats(0.0, 9.0), min_size=1))
def test_figures_are_of_the_runs_in_which_it_happened(times: list[float | None]) -> None:
    there = sorted(each for each in times if each is not None)
    record = record_of("vanish", "single", 3, [run(each) for each in times], overlaps=0)
    median = median_run([run(each) for each in times])

    assert record.runs == len(times)
    assert (record.requests, record.failed_other) == (10 * len(times), len(times))
    assert (record.answering_s == spread([])) is (not there)
    assert (median.moments.answering if median else None) == (
        there[(len(there) - 1) // 2] if there else None
    )
    if there:
        assert record.answering_s.max == round(there[-1], 3)
        assert (record.answering_s.p95 or 0.0) <= there[-1] + 0.001
