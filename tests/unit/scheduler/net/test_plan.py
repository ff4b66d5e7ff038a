"""Plans of probes: bounded, whole for few nodes, fair for many, silent of what is not there."""

import random
from collections import Counter

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.net.plan import DRAWN_PAIRS_A_NODE, PAIRS_ALL_NODES, Leg, NetPlan, plan
from scheduler.net.scene import Sample, Scene
from shared.api import PROBES_MAX
from shared.model import NodeName
from tests.unit.scheduler.net.packets import scene


def made(of: Scene, seed: int = 0) -> NetPlan:
    return plan(of, random.Random(seed).randrange)  # noqa: S311 - no secret


def pairs(of: NetPlan, leg: Leg = Leg.HOSTS) -> set[tuple[NodeName, NodeName]]:
    return {(one.node, one.target) for one in of.asked if one.leg is leg}


@settings(max_examples=30)
@given(st.integers(0, 60), st.integers(0, 2**32), st.sets(st.integers(1, 60)))
def test_every_plan_is_bounded_and_both_ways(count: int, seed: int, bare: set[int]) -> None:
    asked = made(scene(count, bare=frozenset(bare)), seed)

    tried = pairs(asked)
    assert tried == {(b, a) for a, b in tried}
    assert all(a != b for a, b in tried)
    partners = Counter(a for a, _ in tried)
    if count <= PAIRS_ALL_NODES:
        assert len(tried) == count * max(count - 1, 0)
    else:
        assert len(tried) <= 2 * count * (1 + DRAWN_PAIRS_A_NODE)
        assert all(partners[spec.name] >= 2 for spec in asked.scene.nodes)
        assert "pairs of nodes are tried" in asked.skipped[0]
    ids = [one.id for one in asked.asked]
    assert len(ids) == len(set(ids))
    assert all(len(asked.of(spec.name)) <= PROBES_MAX for spec in asked.scene.nodes)


def test_two_hundred_nodes_are_a_sample_that_says_so() -> None:
    asked = made(scene(200))
    assert len(pairs(asked)) <= 1200
    assert max(len(asked.of(spec.name)) for spec in asked.scene.nodes) < 250
    assert asked.skipped[0].endswith(
        "of 19900 pairs of nodes are tried: a ring and some by lot, because there are more than 12 "
        "nodes"
    )


def test_two_nodes_with_everything() -> None:
    asked = made(scene(2))
    legs = Counter(one.leg for one in asked.asked)
    assert set(legs) == set(Leg)
    assert legs[Leg.CONTAINERS] == 2
    assert legs[Leg.PUBLISHED] == 4
    assert asked.skipped == ()


def without_networks(of: Scene) -> Scene:
    samples = {
        node: msgspec.structs.replace(sample, networks=frozenset(), tcp_port=0)
        for node, sample in of.samples.items()
    }
    return msgspec.structs.replace(of, samples=samples, targets=())


def test_what_is_not_there_is_not_asked_and_is_said() -> None:
    asked = made(without_networks(scene(3, bare=frozenset({3}))))
    gone = {Leg.DNS, Leg.VIP, Leg.PUBLISHED, Leg.CONTAINERS_TCP, Leg.CONTAINER_TO_HOST}
    assert {one.leg for one in asked.asked} == set(Leg) - gone
    assert asked.skipped == (
        "no container runs on node-3: there only the hosts are tried",
        "no sample container names a network: names are not tried",
        "no service has a virtual address: none is tried",
    )


def test_containers_that_share_no_network_are_not_asked_to_reach_each_other() -> None:
    of = scene(3)
    other = msgspec.structs.replace(
        of.samples[NodeName("node-3")], networks=frozenset({"inner"}), has_egress=False
    )
    asked = made(msgspec.structs.replace(of, samples={**of.samples, NodeName("node-3"): other}))
    one, two, three = (spec.name for spec in of.nodes)
    assert pairs(asked, Leg.CONTAINERS) == {(one, two), (two, one)}
    assert pairs(asked, Leg.CONTAINER_TO_HOST) == {
        (a, b) for a in (one, two) for b in (one, two, three) if a != b
    }
    assert {one.node for one in asked.asked if one.leg is Leg.VIP} == {one, two}


def test_a_sample_shares_what_it_is_on_or_has_no_network_at_all() -> None:
    sample: Sample = scene(1).samples[NodeName("node-1")]
    assert sample.shares(frozenset({"shop_default", "x"}))
    assert not sample.shares(frozenset())
    assert msgspec.structs.replace(sample, networks=frozenset()).shares(frozenset())
