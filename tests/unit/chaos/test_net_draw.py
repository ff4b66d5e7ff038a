"""What chaos deletes: the same for the same seed, each kind of thing, and who would miss it."""

from itertools import islice
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.settings import NetworkMode
from tests.chaos.net_draw import PAUSE_S_MAX, PAUSE_S_MIN, draw
from tests.chaos.net_things import INSIDE, KINDS, OUTSIDE, Places, Thing, carried, kinds_of, things

NODES = ("node-1", "node-2", "node-3")
PLACES = Places(
    holder="node-3",
    asker="node-1",
    web=frozenset({"node-2", "node-3"}),
    links={"h1": "web", "h2": "asker"},
    subnets={f"198.19.{number}.0/24": f"node-{number}" for number in (1, 2, 3)},
    floating="198.18.0.240",
)
POLICY = """table inet hafen { # handle 1
\tset nodes4 { # handle 2
\t\ttype ipv4_addr
\t\telements = { 198.18.0.1, 198.18.0.2,
\t\t\t     198.18.0.3 }
\t}

\tset udp_ports { # handle 3
\t\ttype inet_service
\t}

\tchain forward { # handle 4
\t\ttype filter hook forward priority filter; policy accept;
\t\tiifgroup 72 jump from_container # handle 5
\t}
}
"""
SERVICES = """table ip hafen_services { # handle 1
\tmap vips { # handle 2
\t\ttype ipv4_addr : verdict
\t\telements = { 198.18.140.120 : goto vip.bench.web,
\t\t\t     198.18.241.178 : goto vip.bench.asker }
\t}

\tchain vip.bench.web { # handle 3
\t\tdnat to numgen inc mod 2 map { 0 : 198.19.2.2, 1 : 198.19.3.2 } comment "a" # handle 9
\t}
}
"""
SAID = {
    "link": "h1@if2 UP 02:68:c6:13:01:01 <UP>\nhx@if2 UP 02:68:c6:13:01:01 <UP>\n",
    "tunnel": "hafen.vx UNKNOWN 02:68:c6:13:01:01 <UP>\n",
    "bridge": "hafen0 DOWN 02:68:c6:13:01:01 <NO-CARRIER,UP>\n",
    "route": "198.19.1.2 dev h1 scope link\n198.19.2.0/24 via 198.18.0.2 dev eth0 src 198.18.0.1\n",
    "rule": POLICY + SERVICES,
    "set": POLICY + SERVICES,
    "table": "table inet hafen\ntable ip hafen_services\n",
    "map-element": SERVICES,
    "address": "eth0@if4 UP 198.18.0.3/24 198.18.0.240/32 \n",
    "haproxy": "121\n127\n",
    "name-server": "40\n",
    "file": "haproxy/admin.sock\nnames/names.sock\n",
}
COMMANDS = {
    "link": ["ip link delete h1"],
    "tunnel": ["ip link delete hafen.vx"],
    "bridge": ["ip link delete hafen0"],
    "route": ["ip route delete 198.19.2.0/24 proto 72"],
    "rule": [
        "nft delete rule ip hafen_services vip.bench.web handle 9",
        "nft delete rule inet hafen forward handle 5",
    ],
    "set": ["nft flush map ip hafen_services vips", "nft flush set inet hafen nodes4"],
    "table": ["nft delete table inet hafen", "nft delete table ip hafen_services"],
    "map-element": [
        "nft delete element ip hafen_services vips '{ 198.18.140.120 }'",
        "nft delete element ip hafen_services vips '{ 198.18.241.178 }'",
    ],
    "address": ["ip address delete 198.18.0.240/32 dev eth0"],
    "haproxy": ["kill -KILL 121", "kill -KILL 127"],
    "name-server": ["kill -KILL 40"],
    "file": ["rm /run/hafen/haproxy/admin.sock", "rm /run/hafen/names/names.sock"],
}
# By part and what it leads to: who may miss it on node-1, which has the asker and no replica; on
# node-2, which has a replica; on node-3, which has one and the floating address.
BOTH = (OUTSIDE, INSIDE)
MISSED = {
    ("link", "web"): (BOTH, BOTH, BOTH),
    ("link", "asker"): ((INSIDE,), (INSIDE,), (INSIDE,)),
    ("route", "node-1"): ((), (INSIDE,), (INSIDE,)),
    ("route", "node-2"): ((INSIDE,), (), (OUTSIDE,)),
    ("route", "node-3"): ((INSIDE,), (), (OUTSIDE,)),
    ("tunnel", ""): ((INSIDE,), (INSIDE,), BOTH),
    ("bridge", ""): ((INSIDE,), (), (OUTSIDE,)),
    ("policy", ""): ((INSIDE,), BOTH, BOTH),
    ("services", ""): ((INSIDE,), (), ()),
    ("names", ""): ((INSIDE,), (), ()),
    ("gateway", ""): ((), (), (OUTSIDE,)),
    ("address", ""): ((), (), (OUTSIDE,)),
}


@given(st.integers(0, 10**9), st.integers(3, 5), st.sampled_from(get_args(NetworkMode)))
def test_a_seed_says_all_and_each_kind_comes_once_in_a_round(
    seed: int, count: int, network: NetworkMode
) -> None:
    kinds = kinds_of(network)
    nodes = [f"node-{number}" for number in range(1, count + 1)]
    drawn = list(islice(draw(seed, nodes, kinds), 2 * len(kinds)))

    assert drawn == list(islice(draw(seed, nodes, kinds), 2 * len(kinds)))
    assert {each.kind for each in drawn[: len(kinds)]} == set(kinds)
    assert {each.kind for each in drawn[len(kinds) :]} == set(kinds)
    for each in drawn:
        assert sorted(each.nodes) == nodes
        assert 0 <= each.choose(7) < 7
        assert PAUSE_S_MIN <= each.pause_s <= PAUSE_S_MAX


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_host_says_is_read(kind: str) -> None:
    found = things(kind, SAID[kind], PLACES)

    assert [each.command for each in found] == COMMANDS[kind]
    assert things(kind, "", PLACES) == ()


@pytest.mark.parametrize(("part", "to"), MISSED)
def test_only_who_needs_a_thing_misses_it(part: str, to: str) -> None:
    thing = Thing(what="a thing", command="true", part=part, to=to)

    assert tuple(carried(thing, node, PLACES) for node in NODES) == MISSED[part, to]
