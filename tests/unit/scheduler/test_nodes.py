"""Whom the leader believes: votes, the brake, the rate limit, and nodes that come and go."""

from collections.abc import Iterable, Mapping

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from scheduler.nodes import GATEWAY_WAIT_S, History, Judged, Verdict, grounds_of, judge
from scheduler.world import World
from shared.model import NodeName, Silence
from shared.timing import LAN
from tests.build import node, world


def seen(
    total: int, said: Mapping[int, set[int]], gone: set[int], silence: Silence = Silence.HOST
) -> World:
    """Return nodes 1 to `total`: who is suspected by whom, and whose session has ended."""
    hosts = [node(f"node-{n}", alive=n not in gone) for n in range(1, total + 1)]
    return world(
        msgspec.structs.replace(
            host, suspected_by={NodeName(f"node-{peer}"): silence for peer in said.get(n, ())}
        )
        for n, host in enumerate(hosts, 1)
    )


def given_up(judged: Judged) -> set[str]:
    return {name for name, verdict in judged.verdicts.items() if verdict.is_given_up}


NUMBERS = st.integers(1, 12)


@given(
    NUMBERS, st.dictionaries(NUMBERS, st.sets(NUMBERS, max_size=4)), st.sets(NUMBERS, max_size=6)
)
def test_nobody_is_given_up_at_once_but_by_two_living_peers_few_at_a_time_and_unbraked(
    total: int, said: dict[int, set[int]], gone: set[int]
) -> None:
    judged = judge(seen(total, said, gone), History(), 0.0, LAN)
    lost = given_up(judged)
    for name in lost:
        number = int(name.removeprefix("node-"))
        voters = {n for n in said[number] if n <= total and n not in gone and n != number}
        assert len(voters) >= 2
        assert not lost & {f"node-{n}" for n in voters} or len(voters) > 2
    assert len(lost) <= max(1, total // 10)
    silent = {n for n in gone if n <= total}
    share = 4 if total > 8 else 2
    assert not lost or len(silent) * share < total


def test_both_peers_of_a_three_node_cluster_convict_at_once() -> None:
    both = judge(seen(3, {1: {2, 3}}, set()), History(), 0.0, LAN)
    assert both.verdicts[NodeName("node-1")] is Verdict.UNREACHABLE
    assert both.reasons[NodeName("node-1")] == "its host does not answer node-2 and node-3"
    one = judge(seen(3, {1: {2}}, set()), History(), 0.0, LAN)
    assert one.verdicts[NodeName("node-1")] is Verdict.SUSPECT


def test_an_agent_that_is_silent_alone_changes_no_verdict() -> None:
    judged = judge(seen(3, {1: {2, 3}}, set(), Silence.AGENT), History(), 0.0, LAN)
    assert judged.verdicts[NodeName("node-1")] is Verdict.READY
    assert "its host does" in judged.reasons[NodeName("node-1")]


def test_a_gateway_whose_agent_is_gone_is_waited_for_for_a_while_where_its_host_answers() -> None:
    name, down = NodeName("node-1"), seen(3, {1: {2, 3}}, {1}, Silence.AGENT)
    judged = judge(down, History(), 0.0, LAN)
    assert judged.headless == {name}
    assert judge(seen(3, {1: {2, 3}}, {1}), History(), 0.0, LAN).headless == set()
    assert judge(seen(3, {1: {2, 3}}, set(), Silence.AGENT), History(), 0.0, LAN).headless == set()
    judged = judge(down, judged.history, 12.0, LAN)
    assert (judged.headless, judged.verdicts[name]) == (frozenset({name}), Verdict.LOST)
    assert judged.reasons[name].endswith("its gateway serves what was true 12 s ago")
    assert judged.changes_in_s == GATEWAY_WAIT_S - 12.0
    assert judge(down, judged.history, GATEWAY_WAIT_S, LAN).headless == set()


def test_the_accused_have_no_vote() -> None:
    judged = judge(seen(5, {1: {2, 3}, 2: {4, 5}}, set()), History(), 0.0, LAN)
    assert given_up(judged) == {"node-2"}


def test_a_node_that_flaps_is_believed_later_each_time_and_recovers() -> None:
    down, up, name = seen(5, {1: {2, 3}}, set()), seen(5, {}, set()), NodeName("node-1")
    history, now, waits = History(), 0.0, []
    judged = judge(up, history, now, LAN)
    for _ in range(4):
        began, judged = now, judge(down, history, now, LAN)
        while not given_up(judged):
            assert judged.changes_in_s is not None
            now += judged.changes_in_s + 0.001
            judged = judge(down, judged.history, now, LAN)
        waits.append(round(now - began))
        judged = judge(up, judged.history, now, LAN)
        now += 2.5
        history = judged.history
    assert waits == [0, 2, 4, 8]
    assert judged.verdicts[name] is Verdict.PROBATION
    assert "4 losses in 5 min, takes new work in 8 s" in judged.reasons[name]
    assert judge(up, history, now + 8, LAN).verdicts[name] is Verdict.READY


def test_an_unreachable_node_whose_lease_ends_is_lost_after_its_grace() -> None:
    first = judge(seen(5, {1: {2, 3}}, set()), History(), 0.0, LAN)
    second = judge(seen(5, {1: {2, 3}}, {1}), first.history, 2.0, LAN)
    assert second.verdicts[NodeName("node-1")] is Verdict.UNREACHABLE
    third = judge(seen(5, {1: {2, 3}}, {1}), second.history, 2.5, LAN)
    assert third.verdicts[NodeName("node-1")] is Verdict.LOST


@given(st.floats(0.0, 1e6))
@example(0.35713595519992386)
def test_a_verdict_changes_at_the_very_moment_that_was_named(at_s: float) -> None:
    """A timer may ring at exactly that moment: with nothing due there is nobody to set another."""
    down = seen(3, {}, {1})
    before = judge(down, History(), at_s, LAN)
    assert before.changes_in_s is not None
    due_s = before.history.missing_since[NodeName("node-1")] + LAN.grace_s
    judged = judge(down, before.history, due_s, LAN)
    assert judged.verdicts[NodeName("node-1")] is Verdict.LOST


# All timings of this profile are whole eighths of a second: so is every moment, and no sum is off.
MOMENTS = st.integers(0, 3000).map(lambda eighths: eighths / 8)
STATES = st.tuples(
    st.dictionaries(st.integers(1, 5), st.sets(st.integers(1, 5), max_size=4), max_size=3),
    st.sets(st.integers(1, 5), max_size=3),
    st.one_of(st.integers(0, 80).map(lambda eighths: eighths / 8), MOMENTS),
)
States = list[tuple[dict[int, set[int]], set[int], float]]


@given(st.lists(STATES, min_size=1, max_size=6), st.floats(0.0, 0.999))
def test_what_was_seen_before_is_seen_again_until_the_moment_that_was_named(
    states: States, share: float
) -> None:
    now, state = 0.0, seen(5, {}, set())
    judged = judge(state, History(), now, LAN)
    for said, gone, passes_s in states:
        now += passes_s
        state = seen(5, said, gone)
        judged = judge(state, judged.history, now, LAN)
    again = seen(5, said, gone)
    assert grounds_of(again) == grounds_of(state)
    assert judge(again, judged.history, now, LAN) == judged
    later = now + share * (60.0 if judged.changes_in_s is None else judged.changes_in_s)
    assert judge(again, judged.history, later, LAN).verdicts == judged.verdicts


def asked(states: States, also_at: Iterable[float] = ()) -> Judged:
    """Return the verdict in the end: asked at each change, when one is due, and `also_at`."""
    now, history, last = 0.0, History(), seen(5, {}, set())
    for said, gone, passes_s in states:
        last, ends = seen(5, said, gone), now + passes_s
        more = sorted(at for at in also_at if now <= at < ends)
        while now < ends:
            judged = judge(last, history, now, LAN)
            history = judged.history
            due = now + judged.changes_in_s if judged.changes_in_s is not None else ends
            now = min([due, ends, *more[:1]])
            more = more[1:] if more[:1] == [now] else more
    return judge(last, history, now, LAN)


@given(st.lists(STATES, min_size=1, max_size=6), st.lists(MOMENTS, max_size=30))
def test_what_is_remembered_goes_by_what_happened_however_often_somebody_asked(
    states: States, also_at: list[float]
) -> None:
    assert asked(states, also_at) == asked(states)
