"""Who may talk to whom, as sets and chains: against a plain reading of what networks mean."""

import msgspec
from hypothesis import given

from node_agent.network.cluster import Cluster, Local, Site, is_closed
from node_agent.network.parts import Member
from node_agent.network.policy import identifier
from node_agent.network.rules import chains_of, change, whole
from shared.model import AllocId, NodeName
from tests.unit.node_agent.network.build import (
    Kernel,
    at,
    clusters,
    passes,
    ruleset_of,
    shares,
)

Drawn = tuple[Cluster, dict[AllocId, Local]]
WEB, FAR = AllocId("shop.web.1.a"), AllocId("shop.web.2.a")


@given(clusters())
def test_containers_of_a_node_talk_exactly_if_they_share_a_network(drawn: Drawn) -> None:
    ruleset = ruleset_of(*drawn)
    for source, one in at(drawn[1]):
        for target, other in at(drawn[1]):
            assert passes(ruleset, source, target) == shares(one, other)


@given(clusters())
def test_who_is_elsewhere_is_let_in_exactly_if_it_shares_a_network(drawn: Drawn) -> None:
    cluster, locals_ = drawn
    ruleset = ruleset_of(*drawn)
    for member in cluster.members:
        for address, local in at(locals_):
            chain = ruleset.chains[ruleset.maps["into4"][1][address]]
            sets = [rule.split("@")[1].split()[0] for rule in chain if rule.startswith("ip saddr")]
            lets_in = any(member.addresses[0] in ruleset.sets[name].items for name in sets)
            assert lets_in == (shares(member, local))


@given(clusters())
def test_virtual_addresses_are_known_in_both_families(drawn: Drawn) -> None:
    """Only this node's own containers use them: what comes from elsewhere is dropped."""
    cluster, locals_ = drawn
    ruleset = ruleset_of(msgspec.structs.replace(cluster, vips=("198.18.200.1",)), locals_)
    assert ruleset.sets["vips4"].items == {"198.18.200.1"}
    assert ruleset.sets["vips6"].items == {"fd00::c612:c801"}


@given(clusters())
def test_the_way_out_is_for_whom_is_on_a_network_that_has_one(drawn: Drawn) -> None:
    cluster, locals_ = drawn
    ruleset = ruleset_of(*drawn)
    for address, local in at(locals_):
        networks = local.networks or ("",)
        has_way = any(not name or cluster.closed.get(name) is False for name in networks)
        assert (address in ruleset.sets["open4"].items) == has_way
        chain = ruleset.chains[ruleset.maps["outof4"][1][address]]
        assert chain[-1] == ("goto beyond" if has_way else "drop")


@given(clusters(), clusters())
def test_a_change_leads_from_any_ruleset_to_any_other(before: Drawn, after: Drawn) -> None:
    there, wanted = ruleset_of(*before), ruleset_of(*after)
    kernel = Kernel(there)
    kernel.follow(change(there, wanted))
    assert kernel.sets == {name: set(each.items) for name, each in wanted.sets.items()}
    assert kernel.maps == {name: dict(each) for name, (_, each) in wanted.maps.items()}
    assert kernel.chains == {name: list(rules) for name, rules in wanted.chains.items()}
    assert change(wanted, wanted) == ""


@given(clusters())
def test_every_chain_that_is_counted_is_written(drawn: Drawn) -> None:
    wanted = ruleset_of(*drawn)
    script = whole(wanted)
    for name in chains_of(wanted):
        assert f"    chain {name} {{\n" in script


def test_one_more_member_elsewhere_is_one_element_of_each_family() -> None:
    local = {WEB: Local(address="198.19.1.2", networks=("front",))}
    site = Site(NodeName("node-2"), "198.18.0.2", "198.19.2.0/24")
    before = Cluster(sites=(site,), closed={"front": False})
    member = Member(FAR, NodeName("node-2"), ("198.19.2.2",), ("front",))
    after = Cluster(sites=(site,), closed={"front": False}, by_stack=((member,),))
    name = f"net_{identifier('front')}_"
    assert change(ruleset_of(before, local), ruleset_of(after, local)) == (
        f"add element inet hafen {name}4 {{ 198.19.2.2 }}\n"
        f"add element inet hafen {name}6 {{ fd00::c613:202 }}\n"
    )


def test_a_network_that_nobody_knows_is_closed_and_the_nameless_one_open() -> None:
    assert is_closed(Cluster(), ("front",))
    assert not is_closed(Cluster(), ("",))
    assert not is_closed(Cluster(closed={"front": False, "back": True}), ("back", "front"))


def test_names_that_look_alike_stay_apart() -> None:
    assert identifier("a-b").startswith("a_b_")
    assert len({identifier(name) for name in ("a-b", "a_b", "a.b", "x" * 80, "x" * 81)}) == 5
