"""What nft lists, read by its comments."""

import json
from typing import Any

import pytest

from node_agent.balance.listing import UNREADABLE, found_in
from node_agent.balance.table import NAME, Table, change
from tests.balance_tables import FOUR

OWN = {"family": "ip", "table": NAME, "handle": 1}


def listed(*items: dict[str, Any]) -> bytes:
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, *items]}).encode()


def test_rules_are_their_comments_and_protocols_have_names() -> None:
    elements = [
        [{"concat": [17, 6]}, {"goto": {"target": "udp.6.a.b"}}],
        [{"concat": ["tcp", 17]}, {"drop": None}],
    ]
    found = found_in(
        listed(
            {
                "map": {**OWN, "name": "ports", "type": ["inet_proto", "inet_service"]}
                | {"map": "verdict", "elem": elements}
            },
            {"set": {**OWN, "name": "virtual", "type": "ipv4_addr", "elem": ["198.18.200.1"]}},
            {"chain": {**OWN, "name": "udp.6.a.b"}},
            {"chain": {**OWN, "name": "output", "type": "nat", "hook": "output", "prio": -100}},
            {"rule": {**OWN, "chain": "udp.6.a.b", "comment": "x", "expr": [{"drop": None}]}},
            {"rule": {**OWN, "chain": "udp.6.a.b", "expr": []}},
            {"rule": {**OWN, "chain": "output", "comment": "y", "expr": []}},
        )
    )
    assert found.chains == {"udp.6.a.b": ("x", "")}
    assert found.maps == {"ports": {"udp . 6": "udp.6.a.b", "tcp . 17": ""}}
    assert found.sets == {"virtual": {"198.18.200.1"}}
    assert found.frame == {
        "ports inet_proto . inet_service",
        "virtual ipv4_addr",
        "output nat output -100 y",
    }


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"nftables": [{"rule": {"chain": 5}}]}',
        listed({"set": {**OWN, "name": "virtual", "type": "ipv4_addr", "elem": [{"range": []}]}}),
    ],
)
def test_what_cannot_be_read_is_made_new(text: bytes) -> None:
    assert found_in(text) == UNREADABLE
    assert change(UNREADABLE, Table(family=FOUR)).startswith(f"add table ip {NAME}\ndelete table")
