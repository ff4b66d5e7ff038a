"""Routes, neighbours and addresses of a node."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from node_agent.network.cluster import Cluster
from node_agent.network.parts import Member
from node_agent.network.plan import Host, Plan, Route, clashes, difference, plan_of
from shared.model import AllocId, NodeName
from tests.unit.node_agent.network.build import SITES

HOST = Host(node="node-1", address="198.18.0.1", subnet="198.19.1.0/24", uplink="eth0", mtu=1500)
FIXED = Member(AllocId("s.w.1.a"), NodeName("node-2"), ("198.19.2.2", "198.18.20.5"), ())
CLUSTER = Cluster(sites=SITES, by_stack=((FIXED,),))


def test_routed_leads_to_nodes_and_vxlan_to_their_gateways_on_its_device() -> None:
    links = {"h1": ("198.19.1.2",)}
    routed = plan_of(HOST, CLUSTER, links)
    assert routed.routes == {
        "198.19.2.0/24": Route(via="198.18.0.2"),
        "198.19.3.0/24": Route(via="198.18.0.3"),
        "198.18.20.5/32": Route(via="198.18.0.2"),
        "198.19.1.2/32": Route("h1"),
    }
    assert routed.forwards == frozenset()
    vxlan = plan_of(msgspec.structs.replace(HOST, vxlan_port=4789), CLUSTER, {})
    assert vxlan.routes["198.18.20.5/32"] == Route("hafen.vx", "198.19.2.1")
    assert vxlan.neighbours["hafen.vx", "198.19.3.1"] == "02:68:c6:13:03:01"
    assert vxlan.forwards == {
        ("02:68:c6:13:02:01", "198.18.0.2"),
        ("02:68:c6:13:03:01", "198.18.0.3"),
    }


def test_nodes_reach_each_other_and_their_containers_over_ipv6() -> None:
    six = msgspec.structs.replace(HOST, pool6="fd00:68::/96")
    routed = plan_of(six, CLUSTER, {})
    assert {to: route for to, route in routed.routes.items() if ":" in to} == {
        "fd00:68::c612:2/128": Route("eth0"),
        "fd00:68::c612:3/128": Route("eth0"),
        "fd00:68::c613:200/120": Route("eth0", "fd00:68::c612:2"),
        "fd00:68::c613:300/120": Route("eth0", "fd00:68::c612:3"),
        "fd00:68::c612:1405/128": Route("eth0", "fd00:68::c612:2"),
    }
    vxlan = plan_of(msgspec.structs.replace(six, vxlan_port=4789), CLUSTER, {})
    assert {route for to, route in vxlan.routes.items() if ":" in to} == {
        Route("hafen.vx", "fd00:68::c613:201"),
        Route("hafen.vx", "fd00:68::c613:301"),
    }


def test_packets_in_vxlan_are_50_bytes_shorter() -> None:
    assert HOST.inner_mtu == 1500
    assert msgspec.structs.replace(HOST, vxlan_port=4789).inner_mtu == 1450
    assert msgspec.structs.replace(HOST, vxlan_port=4789, mtu=0).inner_mtu == 0


def test_routes_of_others_are_told_if_they_take_traffic() -> None:
    wanted = plan_of(HOST, CLUSTER, {})
    assert list(clashes(HOST, wanted, {"198.19.0.0/16": "dev x", "203.0.113.0/24": "dev x"})) == []
    (told,) = clashes(HOST, wanted, {"198.19.2.128/25": "dev x"})
    assert told.startswith("the route to 198.19.2.128/25 dev x is not hafen's")
    (told,) = clashes(HOST, wanted, {"198.19.1.0/24": "dev docker0"})
    assert "for containers in 198.19.1.0/24" in told


NETS = st.sampled_from(["198.19.2.0/24", "198.19.3.0/24", "198.18.20.5/32"])
ROUTES = st.dictionaries(NETS, st.builds(Route, st.just(""), st.sampled_from(["a", "b"])))
PAIRS = st.frozensets(st.tuples(st.sampled_from("ab"), st.sampled_from("xy")))
PLANS = st.builds(
    Plan,
    routes=ROUTES,
    neighbours=st.dictionaries(st.tuples(st.sampled_from("ab"), NETS), st.sampled_from("mn")),
    forwards=PAIRS,
    addresses=PAIRS,
)


@given(PLANS, PLANS, st.dictionaries(NETS, st.just("dev x"), max_size=1))
def test_a_difference_leads_to_what_is_wanted_and_leaves_others_alone(
    wanted: Plan, there: Plan, foreign: dict[str, str]
) -> None:
    todo = difference(wanted, there, foreign)
    routes = {to: each for to, each in there.routes.items() if to not in todo.remove.routes}
    routes |= todo.make.routes
    assert {to: each for to, each in routes.items() if to not in foreign} == {
        to: each for to, each in wanted.routes.items() if to not in foreign
    }
    assert not todo.make.routes.keys() & foreign.keys()
    left = {key: mac for key, mac in there.neighbours.items() if key not in todo.remove.neighbours}
    assert {**left, **todo.make.neighbours} == wanted.neighbours
    assert (there.forwards - todo.remove.forwards) | todo.make.forwards == wanted.forwards
    assert there.addresses | todo.make.addresses >= wanted.addresses
