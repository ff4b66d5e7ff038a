"""What is remembered of rules gives the rules that would be found anew, after any history."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from node_agent.network.cluster import Cluster, Local
from node_agent.network.parts import Member
from node_agent.network.rules import change
from node_agent.network.rulings import Rulings
from shared.model import AllocId, NodeName
from tests.unit.node_agent.network.build import (
    FRAME,
    NETWORKS,
    SITES,
    Kernel,
    clusters,
    ruleset_of,
    with_all,
)

ONE = NodeName("node-1")
Drawn = tuple[Cluster, dict[AllocId, Local]]
ON = st.sets(st.sampled_from(NETWORKS[1:]), max_size=2).map(lambda names: tuple(sorted(names)))
CLOSED = st.dictionaries(st.sampled_from(NETWORKS[1:]), st.booleans())


@st.composite
def histories(draw: st.DrawFn) -> list[Drawn]:
    """Return clusters, of which some of the stacks stay, and who is attached on the first node.

    What a container is on may not be what the leader says yet.
    """
    pool = draw(st.lists(clusters(), min_size=1, max_size=2))
    found = []
    for _ in range(draw(st.integers(1, 6))):
        cluster, all_here = draw(st.sampled_from(pool))
        if draw(st.booleans()):
            cluster = msgspec.structs.replace(cluster, closed=draw(CLOSED))
        stay = tuple(stack for stack in cluster.by_stack if draw(st.booleans()))
        if draw(st.booleans()):
            cluster = msgspec.structs.replace(cluster, by_stack=stay)
        here = {
            id_: msgspec.structs.replace(local, networks=draw(ON)) if draw(st.booleans()) else local
            for id_, local in all_here.items()
            if draw(st.booleans())
        }
        found.append((cluster, here))
    return found


@given(histories())
def test_what_is_remembered_is_what_would_be_found(history: list[Drawn]) -> None:
    rulings = Rulings(ONE, FRAME)
    for cluster, here in history:
        expected = ruleset_of(cluster, with_all(cluster, here))
        assert rulings.of(cluster, here) == expected


@given(histories())
def test_a_kernel_that_follows_every_change_has_what_is_found_anew(history: list[Drawn]) -> None:
    rulings = Rulings(ONE, FRAME)
    there = rulings.of(*history[0])
    kernel = Kernel(there)
    for cluster, here in history[1:]:
        wanted = rulings.of(cluster, here)
        kernel.follow(change(there, wanted))
        there = wanted
        new = Kernel(ruleset_of(cluster, with_all(cluster, here)))
        assert (kernel.sets, kernel.maps, kernel.chains) == (new.sets, new.maps, new.chains)


def test_who_is_here_no_more_and_not_awaited_is_where_the_leader_says() -> None:
    gone, other, third = (AllocId(f"shop.web.{number}.a") for number in (1, 2, 3))
    member = Member(gone, ONE, ("198.19.1.2",), ("back",))
    cluster = Cluster(sites=SITES, by_stack=((member,),), closed={"back": True, "front": True})
    stays = {third: Local(address="198.19.1.4", networks=("back",))}
    on_front = Local(address="198.19.1.2", networks=("front",))
    rulings = Rulings(ONE, FRAME)
    for id_ in (gone, other):  # which has the same address
        here = {id_: on_front, **stays}
        assert rulings.of(cluster, here) == ruleset_of(cluster, with_all(cluster, here))
