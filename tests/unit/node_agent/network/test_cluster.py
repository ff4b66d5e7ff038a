"""What the kernel has to know of the cluster."""

from collections.abc import Collection

import msgspec

from node_agent.network.cluster import (
    Cluster,
    Local,
    Writer,
    awaited_of,
    cluster_of,
    decode,
    located,
    with_awaited,
)
from node_agent.network.fabric import Topology
from node_agent.network.parts import Member, Parts
from shared.model import (
    AllocId,
    Endpoint,
    HttpRoute,
    Joined,
    Network,
    NodeName,
    Protocol,
    PublishedPort,
    Revision,
    Routes,
    ServiceName,
    ServiceRoutes,
    StackName,
)
from tests.build import node_spec

SHOP, ONE = StackName("shop"), NodeName("node-1")
A, B, C = (AllocId(f"shop.web.{n}.a") for n in (1, 2, 3))


def topology(*endpoints: Endpoint, networks: tuple[Network, ...] = ()) -> Topology:
    service = ServiceRoutes(
        service=ServiceName("web"),
        ports=(
            PublishedPort(published=8080, target=80),
            PublishedPort(published=53, target=53, protocol=Protocol.UDP),
            PublishedPort(published=0, target=9),
        ),
        endpoints=endpoints,
        networks=(Joined(network="front"),),
        vip="198.19.255.1",
    )
    routes = Routes(stack=SHOP, services=(service,), networks=networks)
    return Topology((node_spec("node-1"),), {SHOP: (Revision(7), routes)})


def cluster_at(
    seen: Topology, before: Cluster, used: Collection[str] = (), edge: Collection[int] = ()
) -> Cluster:
    return cluster_of(seen, before, used, edge, Parts().of(seen))


def test_the_cluster_is_what_routes_say() -> None:
    found = cluster_at(
        topology(
            Endpoint(allocation=A, node=ONE, address="198.19.1.2", addresses=("198.18.20.5",)),
            Endpoint(allocation=B, node=ONE, address="198.19.1.3", networks=("back",)),
            Endpoint(allocation=C, node=ONE, address="198.18.0.1"),  # the node's own
            Endpoint(allocation=C, node=ONE, address=""),
            networks=(Network(name="front", subnet="198.18.20.0/24"),),
        ),
        Cluster(),
    )
    assert tuple(found.members) == (
        Member(A, ONE, ("198.19.1.2", "198.18.20.5"), ("front",)),
        Member(B, ONE, ("198.19.1.3",), ("back",)),
    )
    assert (found.tcp, found.udp, found.vips) == ((8080,), (53,), ("198.19.255.1",))
    assert (found.closed, found.subnets) == ({"front": False}, ("198.18.20.0/24",))
    written = Writer().encode(found)
    assert decode(written) == found
    assert decode(written[:-5]) is None
    assert decode(Writer().encode(Cluster())) == Cluster()


def test_the_ports_of_routes_are_open_once_there_are_any() -> None:
    here = topology(networks=())
    (revision, routes) = here.routes[SHOP]
    routed = msgspec.structs.replace(
        routes.services[0], routes=(HttpRoute(host="shop.example.org", port=80),)
    )
    with_routes = msgspec.structs.replace(routes, services=(routed,))
    for each, open_ in ((routes, (8080,)), (with_routes, (80, 443, 8080))):
        seen = Topology(here.nodes, {SHOP: (revision, each)})
        assert cluster_at(seen, Cluster(), (), (80, 443)).tcp == open_


def test_a_network_that_went_stays_as_closed_as_it_was_while_containers_are_on_it() -> None:
    before = Cluster(closed={"front": False, "back": True})
    assert cluster_at(Topology(), before, {"front", "back"}).closed == before.closed
    assert cluster_at(Topology(), before, {"back"}).closed == {"back": True}
    outside = Topology(networks=(Network(name="wan", internal=True),))
    assert cluster_at(outside, before).closed == {"wan": True}


def test_a_fixed_address_stays_with_who_has_it_until_that_is_gone() -> None:
    fixed = ("198.18.20.5",)
    cluster = Cluster(by_stack=((Member(B, ONE, ("198.19.1.3", *fixed), ("front",)),),))
    old, new = Local(address="198.19.1.2", fixed=fixed), Local(address="198.19.1.3")
    assert located(cluster, {A: old, B: new})[B] == Local(address="198.19.1.3", networks=("front",))
    assert located(cluster, {B: new})[B].addresses == ("198.19.1.3", *fixed)


def test_rules_wait_for_containers_that_will_be_here() -> None:
    there = {A: Local(address="198.19.1.2")}
    soon = Member(B, ONE, ("198.19.1.3",), ("front",))
    elsewhere = Member(C, NodeName("node-2"), ("198.19.2.2",), ("front",))
    taken = Member(C, ONE, ("198.19.1.2",), ("front",))
    assert with_awaited(awaited_of((soon, elsewhere, taken), ONE), there) == {
        **there,
        B: Local(address="198.19.1.3", networks=("front",)),
    }
