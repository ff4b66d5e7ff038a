"""Suspicion on paper: probes go out, answers come or do not, and what is concluded from that."""

import random
from collections.abc import Callable
from itertools import count, pairwise
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.peers.lookout import Lookout
from node_agent.peers.net import Way
from node_agent.peers.watch import UNANSWERED_MIN, Watch
from shared.model import NodeName, Silence
from shared.timing import LAN, PATIENT, WAN, Timing
from tests.build import node_spec

A: Final = NodeName("node-2")
B: Final = NodeName("node-3")
# Whether a probe of this node, this way, at this moment, is answered.
Answers = Callable[[NodeName, Way, float], bool]


class Rig:
    """A lookout on a clock of its own, over a network that answers at once or never."""

    def __init__(self, answers: Answers, timing: Timing = LAN) -> None:
        numbers = count(1)
        self.lookout = Lookout(timing, lambda: next(numbers))
        self.lookout.follow([node_spec("node-2"), node_spec("node-3")])
        self.answers, self.now = answers, 100.0
        self.story: list[tuple[float, dict[NodeName, Silence]]] = []
        self.probes = 0
        self.asked: dict[NodeName, list[float]] = {A: [], B: []}
        self.ticks = 0

    def run(self, until_s: float) -> "Rig":
        while self.now < until_s:
            probes, changed = self.lookout.tick(self.now)
            self.probes += len(probes)
            self.ticks += 1
            for address, nonce in probes:
                name = self.lookout.name_of(address)
                assert name is not None
                self.asked[name].append(self.now)
                for way in Way:
                    if self.answers(name, way, self.now):
                        changed |= self.lookout.answered(way, address, nonce, self.now + 0.001)
            if changed:
                self.story.append((self.now, dict(self.lookout.suspicions)))
            self.now = max(self.lookout.planned_s, self.now + 0.001)
        return self


def gone(node: NodeName, *ways: Way, after_s: float, until_s: float = 1e9) -> Answers:
    return lambda name, way, now: not (name == node and way in ways and after_s < now < until_s)


def test_who_answers_is_probed_at_the_profile_s_pace_and_never_suspected() -> None:
    rig = Rig(lambda *_: True).run(110.0)
    assert rig.story == []
    assert rig.probes == pytest.approx(2 * 10 / LAN.probe_s, abs=4)


@pytest.mark.parametrize("timing", [LAN, WAN, PATIENT])
def test_while_all_answers_come_nothing_is_done_between_two_probes(timing: Timing) -> None:
    rig = Rig(lambda *_: True, timing).run(100.0 + 20.5 * timing.probe_s)
    assert rig.ticks == len(rig.asked[A]) == len(rig.asked[B]) == 21


@pytest.mark.parametrize("timing", [LAN, WAN, PATIENT])
@pytest.mark.parametrize("way", Way)
def test_an_answer_that_does_not_come_is_asked_for_again_at_once_and_of_nobody_else(
    timing: Timing, way: Way
) -> None:
    missed_s = 100.0 + 5 * timing.probe_s
    rig = Rig(gone(A, way, after_s=missed_s - 0.001), timing).run(missed_s + timing.silent_s)
    first = next(at_s for at_s in rig.asked[A] if at_s >= missed_s - 0.001)
    after = [at_s for at_s in rig.asked[A] if at_s >= first][:UNANSWERED_MIN]
    gaps = [then - now for now, then in pairwise(after)]
    assert max(gaps) <= timing.probe_again_s + 0.002
    assert all(then - now >= timing.probe_s - 0.002 for now, then in pairwise(rig.asked[B]))


@pytest.mark.parametrize("timing", [LAN, WAN, PATIENT])
def test_a_host_that_says_nothing_is_suspected_in_time_and_until_it_answers(timing: Timing) -> None:
    start_s, back_s = 100.0 + 5 * timing.probe_s, 200.0
    rig = Rig(gone(A, *Way, after_s=start_s, until_s=back_s), timing).run(210.0)
    (at_s, found), (healed_s, after) = rig.story
    assert (found, after) == ({A: Silence.HOST}, {})
    assert at_s - start_s <= timing.probe_s + timing.silent_s + timing.probe_again_s
    assert at_s - start_s >= timing.silent_s
    assert healed_s <= back_s + timing.probe_s + 0.01


def test_an_agent_that_says_nothing_while_its_kernel_answers_is_told_apart() -> None:
    rig = Rig(gone(A, Way.AGENT, after_s=101.0, until_s=110.0)).run(115.0)
    assert [found for _, found in rig.story] == [{A: Silence.AGENT}, {}]
    assert LAN.agent_silent_s <= rig.story[0][0] - 101.0 <= LAN.agent_silent_s + LAN.probe_s


def test_an_agent_s_silence_turns_into_its_host_s() -> None:
    agent, host = gone(A, Way.AGENT, after_s=101.0), gone(A, Way.HOST, after_s=105.0)
    rig = Rig(lambda *probe: agent(*probe) and host(*probe)).run(107.0)
    assert [found for _, found in rig.story] == [{A: Silence.AGENT}, {A: Silence.HOST}]
    assert rig.story[1][0] - 105.0 <= LAN.silent_s + LAN.probe_s + LAN.probe_again_s


def test_a_kernel_that_never_answers_is_no_evidence() -> None:
    deaf = gone(A, Way.HOST, after_s=0.0)
    rig = Rig(lambda n, w, t: deaf(n, w, t) and gone(A, *Way, after_s=105.0)(n, w, t)).run(110.0)
    assert [found for _, found in rig.story] == [{A: Silence.AGENT}]
    assert rig.lookout.deaf == (A,)


def test_a_firewall_that_appears_later_is_no_evidence_either() -> None:
    agent, host = gone(A, Way.AGENT, after_s=105.0), gone(A, Way.HOST, after_s=102.0)
    rig = Rig(lambda *probe: agent(*probe) and host(*probe)).run(110.0)
    assert [found for _, found in rig.story] == [{A: Silence.AGENT}]


def test_a_node_that_never_answered_is_not_suspected() -> None:
    assert Rig(gone(A, *Way, after_s=0.0)).run(120.0).story == []


def test_when_nobody_is_heard_nobody_is_suspected_not_even_after_it() -> None:
    rig = Rig(lambda _n, _w, now: not 103.0 < now < 108.0).run(115.0)
    assert rig.story == []


def test_what_was_suspected_before_we_were_cut_off_stays() -> None:
    host = gone(A, *Way, after_s=101.0)
    rig = Rig(lambda n, w, now: host(n, w, now) and not 103.0 < now < 108.0).run(115.0)
    assert [found for _, found in rig.story] == [{A: Silence.HOST}]


def test_who_slept_begins_to_count_anew() -> None:
    rig = Rig(gone(A, *Way, after_s=101.0)).run(101.25)
    assert rig.story == []
    rig.now += 1.0
    woken_s = rig.now
    rig.run(woken_s + 2.0)
    assert [found for _, found in rig.story] == [{A: Silence.HOST}]
    assert rig.story[0][0] >= woken_s + LAN.silent_s


def test_who_was_late_begins_to_count_anew_though_others_were_heard_a_moment_ago() -> None:
    rig = Rig(gone(A, *Way, after_s=101.1)).run(101.41)
    assert rig.story == []
    rig.now += 0.6 * LAN.probe_s
    woken_s = rig.now
    rig.run(woken_s + 2.0)
    assert [found for _, found in rig.story] == [{A: Silence.HOST}]
    assert rig.story[0][0] >= woken_s + LAN.silent_s


def test_who_answers_a_little_later_than_others_after_we_were_cut_off_is_not_suspected() -> None:
    back_s = {A: 108.15, B: 108.0}
    rig = Rig(lambda name, _way, now: not 103.0 < now < back_s[name]).run(115.0)
    assert rig.story == []


def test_while_nobody_is_heard_nobody_is_probed_faster() -> None:
    rig = Rig(lambda _n, _w, now: now < 103.0).run(110.0)
    late = [at_s for at_s in rig.asked[A] if at_s > 103.0 + LAN.probe_s + LAN.silent_s]
    assert min(then - now for now, then in pairwise(late)) >= LAN.probe_s - 0.002


def test_a_node_behind_a_firewall_is_not_probed_faster_for_ever() -> None:
    rig = Rig(gone(A, Way.HOST, after_s=102.0)).run(110.0)
    late = [at_s for at_s in rig.asked[A] if at_s > 103.0]
    assert min(then - now for now, then in pairwise(late)) >= LAN.probe_s - 0.002


def test_silence_counts_from_the_first_probe_after_the_one_that_was_answered_last() -> None:
    watch = Watch(A, "198.18.0.2", LAN)
    for nonce in (1, 2):
        watch.sent(nonce, nonce * 0.05)
    for way in Way:
        assert watch.answered(way, 1)
    for nonce in (3, 4, 5):
        watch.sent(nonce, nonce * 0.05)
    assert watch.verdict(2 * 0.05 + LAN.silent_s - 0.001) is None
    assert watch.verdict(2 * 0.05 + LAN.silent_s) is Silence.HOST


def test_a_node_that_is_no_longer_watched_is_no_longer_suspected() -> None:
    rig = Rig(gone(A, *Way, after_s=101.0)).run(103.0)
    assert rig.lookout.follow([node_spec("node-3")])
    assert rig.lookout.suspicions == {}


def test_an_answer_counts_once_asked_and_from_where_it_was_asked() -> None:
    rig = Rig(gone(A, *Way, after_s=101.0)).run(103.0)
    for way in Way:
        assert not rig.lookout.answered(way, "198.18.0.2", 10**9, rig.now)
        assert not rig.lookout.answered(way, "203.0.113.1", rig.probes, rig.now)
    assert rig.lookout.suspicions == {A: Silence.HOST}


@given(st.integers(0, 2**32), st.floats(0.0, 0.15))
def test_packets_lost_by_chance_raise_no_alarm(seed: int, loss: float) -> None:
    # It takes six probes lost in a row, both ways: 0.15 ** 12.
    luck = random.Random(seed)  # noqa: S311 - replays exactly
    rig = Rig(lambda *_: luck.random() >= loss)
    assert [found for _, found in rig.run(130.0).story if Silence.HOST in found.values()] == []


@given(st.floats(101.0, 102.0), st.sampled_from([LAN, WAN, PATIENT]))
def test_a_host_that_vanishes_at_any_moment_is_found_in_time_and_nobody_else(
    at_s: float, timing: Timing
) -> None:
    rig = Rig(gone(A, *Way, after_s=at_s), timing).run(120.0)
    ((found_s, found),) = rig.story
    assert found == {A: Silence.HOST}
    assert found_s - at_s <= timing.probe_s + timing.silent_s + timing.probe_again_s
