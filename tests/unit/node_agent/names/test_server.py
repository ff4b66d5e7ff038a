"""What is remembered of answers, and how much of one container is borne."""

from pathlib import Path

import dns.message
import pytest

from node_agent.names.answer import Forward
from node_agent.names.resolvers import HostServers
from node_agent.names.server import QUESTIONS_OF_ONE_MAX, Server
from node_agent.names.snapshot import Snapshot
from tests.build_names import OWN, local, question, replica, routes, service, snapshot

A, A2, B = "198.19.1.2", "198.19.1.3", "198.19.1.4"


@pytest.fixture
def server(tmp_path: Path) -> Server:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text("nameserver 198.18.0.53\n")
    made = Server(OWN, HostServers(OWN, resolv_conf))
    made.take(cluster("198.19.1.10", "198.19.1.11"))
    return made


def cluster(*web: str) -> Snapshot:
    ready = (replica(f"shop.web.{slot}.a", one) for slot, one in enumerate(web, 1))
    shop = routes("shop", service("vip", vip="198.19.254.1"), service("web", *ready))
    seeing = (local(each, "shop_default") for each in (A, A2))
    return snapshot(shop, containers=[*seeing, local(B, "other")])


def addresses(server: Server, name: str, of: str) -> list[str]:
    wire = question(name)
    found = server.quickly(of, wire)
    assert isinstance(found, bytes)
    assert found[:2] == wire[:2]
    message = dns.message.from_wire(found)
    assert message.question == dns.message.from_wire(wire).question
    return [str(each) for rrset in message.answer for each in rrset]


async def test_what_is_remembered_is_told_to_none_who_may_not_see_it(server: Server) -> None:
    for _ in range(40):
        for one in (A, A2):
            assert addresses(server, "vip", one) == ["198.19.254.1"]
            assert sorted(addresses(server, "web", one)) == ["198.19.1.10", "198.19.1.11"]
        assert addresses(server, "vip", B) == addresses(server, "web", B) == []


async def test_what_is_remembered_takes_turns(server: Server) -> None:
    firsts = [addresses(server, "web", A)[0] for _ in range(100)]
    assert firsts.count("198.19.1.10") == firsts.count("198.19.1.11") == 50


async def test_nothing_is_remembered_over_a_change(server: Server) -> None:
    for _ in range(40):
        addresses(server, "web", A)
    for web in (["198.19.1.12"], []):
        server.take(cluster(*web))
        assert [addresses(server, "web", A) for _ in range(40)] == [web] * 40


async def test_a_snapshot_that_makes_no_sense_changes_nothing(server: Server) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        server.take(Snapshot(pool="nowhere"))
    assert addresses(server, "vip", A) == ["198.19.254.1"]


async def test_what_goes_to_others_is_never_remembered_here(server: Server) -> None:
    for _ in range(3):
        assert isinstance(server.quickly(A, question("example.com")), Forward)
        assert addresses(server, "example.com.hafen.internal", A) == []


async def test_one_container_is_borne_only_so_much(server: Server) -> None:
    """So many are counted in far less than the second after which it is counted anew."""
    assert any(server.is_too_many(A) for _ in range(3 * QUESTIONS_OF_ONE_MAX))
    assert not server.is_too_many(A2)
