"""From routes to what the kernel should do with them."""

import ipaddress
import re
from collections.abc import Mapping

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.balance.family import Family
from node_agent.balance.flows import Entrance
from node_agent.balance.parts import share
from node_agent.balance.plan import Place, Plan, opens
from node_agent.balance.plan import plan as planned
from node_agent.balance.table import NOTHING, Found, found_of
from shared.model import (
    Affinity,
    AllocId,
    Endpoint,
    EndpointState,
    NodeName,
    Protocol,
    PublishedPort,
    Revision,
    Routes,
    ServiceName,
    ServiceRoutes,
    StackName,
)
from tests.balance_tables import FOUR, NODES, SIX, all_routes

READY, DRAINING, PRESENT = EndpointState.READY, EndpointState.DRAINING, EndpointState.PRESENT
VIP = "198.18.200.1"
UDP = PublishedPort(published=53, target=5353, protocol=Protocol.UDP)
HOST = PublishedPort(published=80, target=8080, is_host=True)


both = st.sampled_from((FOUR, SIX))
AllRoutes = Mapping[StackName, tuple[Revision, Routes]]


class At(msgspec.Struct, frozen=True):
    """A node, and what is there."""

    node: NodeName
    place: Place


def place(
    node: str = "node-1", found: Found = NOTHING, *listening: str, family: Family = FOUR
) -> At:
    there = Place(family=family, found=found, listening=frozenset(listening))
    return At(NodeName(node), there)


def plan(given_routes: AllRoutes, at: At) -> Plan:
    """Return what a node's kernel should have for these routes."""
    stacks = (of_stack for _, (_, of_stack) in sorted(given_routes.items()))
    found = (share(of_stack, at.node, at.place.family) for of_stack in stacks)
    return planned(found, at.place)


def endpoint(address: str, state: EndpointState = READY, slot: int = 0) -> Endpoint:
    node = address.split(".")[2]
    return Endpoint(
        allocation=AllocId(f"shop.web.{slot}.{address}"),
        node=NodeName(f"node-{node}"),
        address=address,
        state=state,
        slot=slot,
    )


def routes(
    *endpoints: Endpoint,
    vip: str = VIP,
    ports: tuple[PublishedPort, ...] = (),
    affinity: Affinity = Affinity.NONE,
    names: tuple[str, ...] = ("web",),
) -> AllRoutes:
    services = tuple(
        ServiceRoutes(
            service=ServiceName(name),
            ports=ports,
            endpoints=endpoints,
            vip=vip,
            affinity=affinity,
        )
        for name in names
    )
    return {StackName("shop"): (Revision(1), Routes(stack=StackName("shop"), services=services))}


def in_four(text: str) -> str:
    """Return it with each IPv6 address of the pool as the IPv4 one that it ends with."""
    return re.sub(
        r"\[?fd00:68::([0-9a-f]+):([0-9a-f]+)\]?", lambda found: four(*found.groups()), text
    )


def four(high: str, low: str) -> str:
    return str(ipaddress.IPv4Address(int(high, 16) << 16 | int(low, 16)))


def addresses(rule: str) -> list[str]:
    """Return where a rule leads, in IPv4, with ports where it says them."""
    return re.findall(r"198\.19\.\d+\.\d+(?:(?: \. |:)\d+)?", in_four(rule))


def of_service(made: Plan, chain: str) -> list[str]:
    (rule,) = made.table.chains[chain]
    return addresses(rule)


# ------------------------------------------------------------ properties


@given(all_routes, both)
def test_it_leads_to_what_is_ready_and_to_nothing_else(
    given_routes: AllRoutes, family: Family
) -> None:
    for node in NODES:
        made = plan(given_routes, place(node, family=family))
        for stack, (_, of_stack) in given_routes.items():
            for one in of_stack.services:
                ready = sorted(e.address for e in one.endpoints if e.state is READY and e.address)
                chain = f"vip.{stack}.{one.service}"
                if chain in made.table.vips.values():
                    assert sorted(of_service(made, chain)) == ready


@given(all_routes, both)
def test_every_entrance_is_served_or_complained_of(given_routes: AllRoutes, family: Family) -> None:
    made = plan(given_routes, place(family=family))
    # What is no address at all is told with IPv4 alone.
    told = in_four(" ".join(made.problems + plan(given_routes, place()).problems))
    served = {in_four(address): chain for address, chain in made.table.vips.items()}
    for stack, (_, of_stack) in given_routes.items():
        for one in of_stack.services:
            id_ = f"{stack}.{one.service}"
            if one.vip and served.get(one.vip) != f"vip.{id_}":
                assert re.search(f"virtual address {one.vip!r}? of {id_}".replace("'", "'?"), told)
            for port in one.ports:
                key = f"udp . {port.published}"
                if port.protocol is Protocol.UDP and not port.is_host:
                    chain = f"udp.{port.published}.{id_}"
                    wanted = f"port {port.published}/udp{family.where} of {id_} "
                    assert made.table.ports[key] == chain or wanted in told


@given(all_routes, both)
def test_what_is_there_already_stays_as_it_is(given_routes: AllRoutes, family: Family) -> None:
    first = plan(given_routes, place(family=family))
    again = plan(given_routes, place("node-1", found_of(first.table), family=family))
    assert again == first


@given(all_routes, both)
def test_the_order_of_what_it_is_told_does_not_matter(
    given_routes: AllRoutes, family: Family
) -> None:
    turned = {
        stack: (
            revision,
            msgspec.structs.replace(
                of,
                services=tuple(
                    msgspec.structs.replace(one, endpoints=one.endpoints[::-1])
                    for one in of.services[::-1]
                ),
            ),
        )
        for stack, (revision, of) in reversed(list(given_routes.items()))
    }
    made, other = plan(given_routes, place(family=family)), plan(turned, place(family=family))
    assert (made.table, made.reaches) == (other.table, other.reaches)


@given(all_routes, both)
def test_connections_may_stay_wherever_new_ones_may_go(
    given_routes: AllRoutes, family: Family
) -> None:
    made = plan(given_routes, place(family=family))
    for address, chain in made.table.vips.items():
        reach = made.reaches[Entrance(address=address)]
        assert set(of_service(made, chain)) <= {in_four(one) for one in reach.served}
        assert reach.served <= reach.listed


@given(all_routes)
def test_ipv6_is_balanced_as_ipv4_is(given_routes: AllRoutes) -> None:
    """But for turns, which begin elsewhere: by the addresses that they go to."""
    for node in NODES:
        four_, six = (plan(given_routes, place(node, family=one)).table for one in (FOUR, SIX))
        assert {in_four(each): chain for each, chain in six.vips.items()} == four_.vips
        assert six.ports == four_.ports
        assert {in_four(each) for each in six.hairpin} == four_.hairpin
        assert {in_four(each) for each in six.far} == four_.far
        for chain, rules in four_.chains.items():
            found = [sorted(addresses(rule)) for rule in six.chains[chain]]
            assert found == [sorted(addresses(rule)) for rule in rules]


# ------------------------------------------------------------ examples


def test_nobody_ready_is_silence() -> None:
    made = plan(routes(endpoint("198.19.1.2", DRAINING), endpoint("198.19.1.3", PRESENT)), place())
    assert made.table.chains == {"vip.shop.web": ("drop",)}


def test_one_needs_no_choice() -> None:
    made = plan(routes(endpoint("198.19.1.2")), place())
    assert made.table.chains == {"vip.shop.web": ("dnat to 198.19.1.2",)}


def test_affinity_is_the_same_on_every_node_and_goes_by_slot() -> None:
    boxes = [endpoint(f"198.19.{3 - number}.2", slot=number) for number in range(3)]
    rules = {
        plan(routes(*boxes, affinity=Affinity.ADDRESS), place(node)).table.chains["vip.shop.web"]
        for node in NODES
    }
    ((rule,),) = rules
    assert rule == (
        "dnat to jhash ip saddr mod 3 seed 0x68616665"
        " map { 0 : 198.19.3.2, 1 : 198.19.2.2, 2 : 198.19.1.2 }"
    )


def test_nodes_do_not_all_begin_with_the_same_replica() -> None:
    boxes = [endpoint(f"198.19.1.{number}") for number in range(2, 12)]
    firsts = {
        of_service(plan(routes(*boxes), place(f"node-{number}")), "vip.shop.web")[0]
        for number in range(20)
    }
    assert len(firsts) > 3


def test_a_udp_port_leads_everywhere_and_what_is_far_is_known() -> None:
    old = msgspec.structs.replace(endpoint("198.19.2.2"), targets={53: 54})
    made = plan(routes(endpoint("198.19.1.2"), old, vip="", ports=(UDP,)), place())
    assert made.table.ports == {"udp . 53": "udp.53.shop.web"}
    assert sorted(of_service(made, "udp.53.shop.web")) == ["198.19.1.2 . 5353", "198.19.2.2 . 54"]
    assert made.table.far == {"198.19.2.2 . udp . 54"}
    assert made.table.hairpin == {"198.19.1.2 . 198.19.1.2"}


def test_a_host_port_is_only_where_a_replica_is_ready() -> None:
    boxes = endpoint("198.19.1.2"), endpoint("198.19.2.2", DRAINING)
    given_routes = routes(*boxes, vip="", ports=(HOST,))
    first, second, third = (plan(given_routes, place(node)) for node in NODES)
    assert first.table.chains == {"tcp.80.shop.web": ("meta l4proto tcp dnat to 198.19.1.2:8080",)}
    assert second.table.ports == third.table.ports == {}
    # What is open with a replica that drains stays open.
    assert second.reaches[Entrance(protocol="tcp", port=80)].listed == {"198.19.2.2"}


def test_ports_of_the_gateway_are_left_to_it() -> None:
    ports = (PublishedPort(published=80, target=80), PublishedPort(published=81, target=81))
    assert plan(routes(endpoint("198.19.1.2"), vip="", ports=ports), place()).table.ports == {}


@pytest.mark.parametrize("holder", ["api", "web"])
def test_of_two_services_the_one_that_has_it_keeps_it(holder: str) -> None:
    both = routes(endpoint("198.19.1.2"), ports=(UDP,), names=("api", "web"))
    before = plan(routes(endpoint("198.19.1.2"), ports=(UDP,), names=(holder,)), place())
    made = plan(both, place("node-1", found_of(before.table)))
    other = {"api": "web", "web": "api"}[holder]
    assert made.problems == (
        f"port 53/udp of shop.{other} belongs to shop.{holder}",
        f"virtual address 198.18.200.1 of shop.{other} belongs to shop.{holder}",
    )
    assert made.table.vips == {VIP: f"vip.shop.{holder}"}


def test_a_port_that_a_program_of_the_host_has_is_left_to_it_unless_it_was_ours() -> None:
    given_routes = routes(endpoint("198.19.1.2"), vip="", ports=(UDP,))
    made = plan(given_routes, place("node-1", NOTHING, "udp . 53"))
    assert made.table.ports == {}
    assert made.problems == ("port 53/udp of shop.web is taken by another program on this node",)
    ours = found_of(plan(given_routes, place()).table)
    assert plan(given_routes, place("node-1", ours, "udp . 53")).problems == ()


def test_only_a_port_that_is_new_is_opened() -> None:
    (_, of_stack) = routes(endpoint("198.19.1.2"), ports=(UDP, HOST))[StackName("shop")]
    shares = [share(of_stack, NodeName("node-1"), FOUR)]
    found = found_of(planned(shares, Place(family=FOUR, found=NOTHING)).table)
    assert opens(shares, NOTHING)
    assert not opens(shares, found)


def test_garbage_is_named_and_the_rest_is_served() -> None:
    made = plan(routes(endpoint("198.19.1.2"), vip="; drop"), place())
    assert made.problems == ("virtual address '; drop' of shop.web is no IPv4 address",)
    bad = msgspec.structs.replace(endpoint("198.19.1.3"), address="198.19.1.2 }")
    made = plan(routes(endpoint("198.19.1.2"), bad), place())
    assert made.problems == (f"address '198.19.1.2 }}' of {bad.allocation} is no IPv4 address",)
    assert made.table.chains == {"vip.shop.web": ("dnat to 198.19.1.2",)}


def test_a_virtual_address_that_goes_is_known_until_its_clients_are_told() -> None:
    before = found_of(plan(routes(endpoint("198.19.1.2")), place()).table)
    made = plan({}, place("node-1", before))
    assert not made.table.vips
    assert made.table.leaving == {VIP}
    assert plan({}, place("node-1", found_of(made.table))).table.leaving == frozenset()


def test_rules_of_ipv6_say_its_addresses_and_write_ports_beside_them() -> None:
    boxes = [endpoint(f"198.19.{number}.2", slot=number) for number in (1, 2)]
    made = plan(routes(*boxes, ports=(UDP, HOST), affinity=Affinity.ADDRESS), place(family=SIX))
    choice = "jhash ip6 saddr mod 2 seed 0x68616665 map"
    to_port = "meta l4proto udp dnat ip6 addr . port to"
    one, other = "fd00:68::c613:102", "fd00:68::c613:202"
    assert made.table.chains == {
        "vip.shop.web": (f"dnat to {choice} {{ 0 : {one}, 1 : {other} }}",),
        "tcp.80.shop.web": (f"meta l4proto tcp dnat to [{one}]:8080",),
        "udp.53.shop.web": (f"{to_port} {choice} {{ 0 : {one} . 5353, 1 : {other} . 5353 }}",),
    }


def test_what_is_on_its_nodes_own_network_has_no_ipv6_address_of_the_pool() -> None:
    on_host = msgspec.structs.replace(endpoint("198.19.1.3"), address="198.18.0.1")
    made = plan(routes(endpoint("198.19.1.2"), on_host), place(family=SIX))
    assert made.table.chains == {"vip.shop.web": ("dnat to fd00:68::c613:102",)}
