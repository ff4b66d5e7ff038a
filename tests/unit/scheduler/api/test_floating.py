"""Floating addresses: what may be asked for, and what people see of them."""

import msgspec
import pytest

from scheduler.api.floating import ADDRESSES_MAX, added, floating, moved
from scheduler.nodes import Verdict, Verdicts
from scheduler.world import FloatingState, NodeState, VipState, World
from shared.api import FloatingAsked, FloatingView
from shared.errors import HafenError
from shared.model import (
    Availability,
    Constraint,
    FloatingAddress,
    FloatingClaim,
    NodeName,
    Report,
    Resources,
    Revision,
)
from shared.subnets import Pools
from tests.build import node_spec

POOLS = Pools(pool="198.19.0.0/16", vips="198.18.128.0/17")
VIP = "198.18.0.50"
EDGE = (Constraint(key="node.labels.edge", value="yes"),)


def node(name: str, *, said: dict[str, str] | None = None, **labels: str) -> NodeState:
    report = Report(
        node=NodeName(name),
        capacity=Resources(),
        segments=("198.18.0.0/24",),
        floating=said or {},
    )
    return NodeState(spec=node_spec(name, **labels), alive=True, report=report)


def world(*addresses: FloatingAddress, holder: str = "", nodes: int = 3) -> World:
    found = [node("node-1", edge="yes"), *(node(f"node-{n}") for n in range(2, nodes + 1))]
    claim = FloatingClaim(node=NodeName(holder), since_s=5.0 if holder else 0.0)
    return World(
        revision=Revision(9),
        nodes={each.spec.name: each for each in found},
        floating={each.address: FloatingState(each, Revision(3)) for each in addresses},
        vips={each.address: VipState(claim, Revision(4)) for each in addresses},
    )


def troubled(of: World, **troubles: str) -> World:
    nodes = {
        name: msgspec.structs.replace(each, trouble=troubles.get(name.replace("-", "_"), ""))
        for name, each in of.nodes.items()
    }
    return msgspec.structs.replace(of, nodes=nodes)


def sound(of: World, **others: Verdict) -> Verdicts:
    return {name: others.get(name.replace("-", "_"), Verdict.READY) for name in of.nodes}


@pytest.mark.parametrize(
    ("address", "asked", "why"),
    [
        ("10.0.0", FloatingAsked(), "'10.0.0' is no IP address; write one such as 10.0.0.50"),
        (
            "224.0.0.5",
            FloatingAsked(),
            "224.0.0.5 cannot be one host's on a segment: it is of a kind of its own",
        ),
        (
            "198.18.0.2",
            FloatingAsked(),
            "198.18.0.2 is node-2's own address: choose one that no host has",
        ),
        (
            "198.19.3.4",
            FloatingAsked(),
            "198.19.3.4 is in 198.19.0.0/16, the containers' network: choose one outside",
        ),
        (
            "198.18.0.255",
            FloatingAsked(),
            "198.18.0.255 is the first or the last of 198.18.0.0/24: no host can have it",
        ),
        (
            "198.18.7.0",
            FloatingAsked(prefix_length=24),
            "198.18.7.0 is the first or the last of 198.18.7.0/24: no host can have it",
        ),
        (
            "198.18.128.9",
            FloatingAsked(),
            "198.18.128.9 is in 198.18.128.0/17, the services' network: choose one outside",
        ),
        (
            "198.18.7.9",
            FloatingAsked(prefix_length=32),
            "198.18.7.9/32: a prefix of 2 to 31 brings a network",
        ),
        (
            VIP,
            FloatingAsked(constraints=(Constraint(key="node.labels.zone", value="b"),)),
            f"no node may have {VIP}: none of 3 is zone=b; `hafen node ls` shows them",
        ),
        (
            "198.18.7.9",
            FloatingAsked(constraints=EDGE),
            (
                "no interface has a network that contains 198.18.7.9: node-1 has 198.18.0.0/24;"
                " with a prefix, such as 198.18.7.9/24, it brings its own"
            ),
        ),
    ],
)
def test_what_cannot_be_one_is_refused(address: str, asked: FloatingAsked, why: str) -> None:
    with pytest.raises(HafenError) as caught:
        added(world(), POOLS, address, asked)
    assert str(caught.value) == why


def test_what_can_be_one_is_and_the_same_again_changes_nothing() -> None:
    record = added(world(), POOLS, "198.18.7.9", FloatingAsked(prefix_length=24, constraints=EDGE))
    assert record == FloatingAddress(address="198.18.7.9", prefix_length=24, constraints=EDGE)
    one = msgspec.structs.replace(FloatingAddress(address=VIP), moves=3)
    assert added(world(one), POOLS, VIP, FloatingAsked()) == one
    with pytest.raises(HafenError, match="already, with another prefix or other nodes"):
        added(world(one), POOLS, VIP, FloatingAsked(constraints=EDGE))


def test_there_are_not_more_than_agents_can_bear() -> None:
    many = [FloatingAddress(address=f"198.18.9.{n % 250}{n // 250}") for n in range(ADDRESSES_MAX)]
    with pytest.raises(HafenError, match=f"{ADDRESSES_MAX} floating addresses are there"):
        added(world(*many), POOLS, VIP, FloatingAsked())


def test_one_with_a_holder_shows_it() -> None:
    now = world(FloatingAddress(address=VIP), holder="node-2")
    assert floating(now, sound(now)).addresses == (
        FloatingView(
            address=VIP,
            holder=NodeName("node-2"),
            since_s=5.0,
            eligible=(NodeName("node-1"), NodeName("node-2"), NodeName("node-3")),
        ),
    )
    (gone,) = floating(now, sound(now, node_2=Verdict.UNREACHABLE)).addresses
    assert (gone.problem, len(gone.eligible)) == ("node-2 is unreachable", 2)


def test_one_without_a_holder_says_why() -> None:
    now = world(FloatingAddress(address=VIP, constraints=EDGE))
    (waiting,) = floating(now, sound(now)).addresses
    assert waiting.problem == "nobody answers it yet"
    (lost,) = floating(now, sound(now, node_1=Verdict.LOST)).addresses
    assert lost.problem == "nobody answers it: no node is edge=yes"
    said = node("node-1", said={VIP: "02:00 on eth0 answers it"}, edge="yes")
    told = msgspec.structs.replace(now, nodes={**now.nodes, NodeName("node-1"): said})
    (refused,) = floating(told, sound(told)).addresses
    assert refused.problem == "nobody answers it: node-1: 02:00 on eth0 answers it"


@pytest.mark.parametrize(
    ("address", "to", "verdict", "why"),
    [
        (
            "198.18.0.9",
            "node-1",
            Verdict.READY,
            f"there is no floating address 198.18.0.9; .*{VIP}",
        ),
        (VIP, "node-9", Verdict.READY, "there is no node 'node-9'; there are: node-1, node-2"),
        (VIP, "node-2", Verdict.READY, f"node-2 may not have {VIP}: it is not edge=yes"),
        (VIP, "node-1", Verdict.LOST, f"node-1 cannot take {VIP}: it is lost"),
    ],
)
def test_it_is_not_moved_where_it_may_not_be(
    address: str, to: str, verdict: Verdict, why: str
) -> None:
    now = world(FloatingAddress(address=VIP, constraints=EDGE))
    with pytest.raises(HafenError, match=why):
        moved(now, sound(now, node_1=verdict), address, NodeName(to))


def test_every_move_is_a_wish_of_its_own() -> None:
    now = world(FloatingAddress(address=VIP, moves=4, move_to=NodeName("node-1")))
    again = moved(now, sound(now), VIP, NodeName("node-1"))
    assert (again.moves, again.move_to) == (5, "node-1")
    spec = msgspec.structs.replace(node_spec("node-1"), availability=Availability.CORDONED)
    nodes = {**now.nodes, NodeName("node-1"): NodeState(spec=spec, alive=True)}
    with pytest.raises(HafenError, match="node-1 is cordoned"):
        moved(msgspec.structs.replace(now, nodes=nodes), sound(now), VIP, NodeName("node-1"))


def test_whose_gateway_does_not_serve_is_not_eligible_while_another_s_does() -> None:
    taken = "port 443 of HTTP routes is taken by another program on this node"
    one = troubled(world(FloatingAddress(address=VIP), holder="node-1"), node_1=taken)
    (shown,) = floating(one, sound(one)).addresses
    assert shown.eligible == ("node-2", "node-3")
    assert shown.problem == f"node-1's gateway does not serve: {taken}"
    with pytest.raises(HafenError) as refused:
        moved(one, sound(one), VIP, NodeName("node-1"))
    assert str(refused.value) == f"node-1 cannot take {VIP}: {shown.problem}"

    all_ = troubled(one, node_1=taken, node_2="gone", node_3="gone")
    (shown,) = floating(all_, sound(all_)).addresses
    assert shown.eligible == ("node-1", "node-2", "node-3")
    assert shown.problem == f"node-1's gateway does not serve: {taken}"
    assert moved(all_, sound(all_), VIP, NodeName("node-2")).move_to == "node-2"
