"""Who watches whom: evenly, stably, and never oneself."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from node_agent.peers.watchers import watched_by, watchers_of
from shared.model import NodeName

names = st.lists(st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True).map(NodeName), unique=True)


@given(names)
def test_every_node_has_three_watchers_or_all_others_and_never_itself(
    nodes: list[NodeName],
) -> None:
    for node in nodes:
        watchers = watchers_of(node, nodes)
        assert len(set(watchers)) == len(watchers) == min(3, len(nodes) - 1)
        assert node not in watchers


@given(names)
def test_both_directions_agree(nodes: list[NodeName]) -> None:
    for me in nodes:
        expected = sorted(node for node in nodes if me in watchers_of(node, nodes))
        assert list(watched_by(me, nodes)) == expected


@given(names, st.randoms(use_true_random=False))
def test_the_order_in_which_nodes_are_listed_changes_nothing(
    nodes: list[NodeName], luck: random.Random
) -> None:
    shuffled = sorted(nodes, key=lambda _: luck.random())
    assert [watchers_of(node, nodes) for node in nodes] == [
        watchers_of(node, shuffled) for node in nodes
    ]


@given(names.filter(len))
def test_a_node_that_goes_changes_only_the_places_that_it_leaves(nodes: list[NodeName]) -> None:
    gone, rest = nodes[0], nodes[1:]
    for node in rest:
        before, after = set(watchers_of(node, nodes)), set(watchers_of(node, rest))
        assert before - after <= {gone}
        assert len(after - before) <= len(before - after)


def test_who_is_no_node_watches_nobody() -> None:
    assert watched_by(NodeName("stranger"), [NodeName("a"), NodeName("b")]) == ()


def test_at_a_thousand_nodes_nobody_watches_many() -> None:
    nodes = [NodeName(f"node-{number}") for number in range(1000)]
    load = Counter(peer for node in nodes for peer in watchers_of(node, nodes))
    assert sum(load.values()) == 3000
    assert max(load.values()) <= 12
