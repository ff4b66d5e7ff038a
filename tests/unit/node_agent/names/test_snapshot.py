"""What the agent tells the name server."""

import msgspec

from node_agent.names.snapshot import Local, Snapshot, containers_of, snapshot_of
from shared import codec
from shared.model import (
    Assignment,
    Joined,
    Manifest,
    Naming,
    NodeName,
    Revision,
    StackName,
    Workload,
)
from tests.build import assignment, running, workload
from tests.build_names import POOLS, routes, service

SHOP = StackName("shop")


def told(*assignments: Assignment, found: str = "198.19.1.2") -> tuple[Local, ...]:
    manifest = Manifest(node=NodeName("node-1"), generation=1, assignments=assignments)
    statuses = [running(each.id, found) for each in assignments] if found else []
    return containers_of(manifest, statuses)


def on_a_network(**more: object) -> Workload:
    spec = {"networks": (Joined(network="net", address="172.20.0.5"),), **more}
    return msgspec.structs.replace(workload(), **spec)


def test_a_container_is_told_with_its_addresses_and_its_networks() -> None:
    spec = on_a_network(naming=Naming(dns=("198.18.0.9",)))
    assert told(assignment("shop.web.1.a", spec)) == (
        Local(
            addresses=("198.19.1.2", "172.20.0.5"),
            stack=SHOP,
            networks=("net",),
            dns=("198.18.0.9",),
        ),
    )


def test_before_it_is_there_it_has_the_address_that_it_will_have() -> None:
    planned = msgspec.structs.replace(assignment("shop.web.1.a", workload()), address="198.19.1.77")
    assert told(planned, found="") == (Local(addresses=("198.19.1.77",), stack=SHOP),)


def test_one_without_an_address_or_with_the_nodes_own_network_does_not_ask() -> None:
    host = on_a_network(network_mode="host")
    assert told(assignment("shop.web.1.a", host)) == ()
    assert told(assignment("shop.web.1.a", workload()), found="") == ()


def test_the_routes_of_all_stacks_are_told_and_survive_the_file() -> None:
    given = {
        StackName(name): (Revision(7), routes(name, service("web", vip="198.19.254.1")))
        for name in ("shop", "other")
    }
    found = snapshot_of(POOLS, given, containers_of(None, []))
    assert [each.stack for each in found.routes] == ["other", "shop"]
    assert codec.decode(Snapshot, codec.encode(found), "file") == found
