"""Cases of test_separation.py: where the kernel leads what services are sent, in both families."""

import socket
from collections.abc import Callable
from typing import Final

import msgspec

from node_agent.balance.balance import balances
from node_agent.network.addresses import six_of
from node_agent.network.fabric import Topology
from node_agent.network.fabrics import Fabrics
from node_agent.nftables import Nftables
from shared.model import EndpointState
from tests.contract.network_rig import (
    ANSWER_S,
    POOL6,
    SHOP,
    SILENCE_S,
    Container,
    Listener,
    Machine,
    Node,
    Rig,
    is_kept_from,
    reaches,
    sends,
)


def what_the_kernel_led_elsewhere_is_judged_by_where_it_goes(rig: Rig) -> None:
    """A virtual address and a published UDP port, as the kernel's balancing rewrites them."""
    rig.network("front")
    rig.network("back")
    web, db = rig.attach("shop.web.1.a", 1, "front"), rig.attach("shop.db.1.a", 1, "back")
    client = rig.attach("shop.api.1.a", 1, "front")
    shut = rig.attach("shop.job.1.a", 1, "lonely")
    rig.vip = "198.18.100.1"
    rig.apply()
    here, _ = rig.nodes
    vip6, node6 = six_of(POOL6, rig.vip), six_of(POOL6, here.address)
    if here.settings.is_vxlan:  # Its only address beside containers' is one of the segment's.
        node6 = "fd00:69::1"
        here.run(f"ip addr add {node6}/64 dev eth0 nodad")
        rig.stranger.run("ip addr add fd00:69::9/64 dev eth0 nodad")
    for ip, vip, node, at in (
        ("ip", rig.vip, here.address, web.address),
        ("ip6", vip6, node6, web.six),
    ):
        to = f"[{at}]" if ":" in at else at
        here.nft(
            f"table {ip} led {{ chain c {{ type nat hook prerouting priority dstnat;"
            f" {ip} daddr {vip} dnat to {at};"
            f" {ip} daddr {node} udp dport 5353 dnat to {to}:4711; }}; }}"
        )
        rig.stranger.run(f"ip route add {vip} via {node}")
        for udp in (False, True):
            assert reaches(client, web, vip, udp=udp, at=at)
            assert is_kept_from(db, web, vip, udp=udp, at=at)
            assert is_kept_from(rig.stranger, web, vip, udp=udp, at=at)
        # Of nodes' addresses, containers use that which all know.
        is_known = ip == "ip" or not here.settings.is_vxlan
        for who, gets_there in (
            (client, True),
            (db, is_known),
            (shut, False),
            (rig.stranger, True),
        ):
            listener = Listener(web, at, 4711, udp=True)
            sends(who, node, 5353)
            got = listener.got(ANSWER_S if gets_there else SILENCE_S)
            assert (got is not None) == gets_there, (node, got)
            listener.close()


def what_is_balanced_gets_to_a_replica_of_another_node_and_its_answer_back(rig: Rig) -> None:
    """With the real balancing on top, in both families."""
    rig.network("front")
    rig.network("back")
    web = rig.attach("shop.web.1.a", 2, "front")
    client, db = rig.attach("shop.api.1.a", 1, "front"), rig.attach("shop.db.1.a", 1, "back")
    rig.vip = "198.18.100.1"
    rig.apply()
    here, _ = rig.nodes
    balance(rig, here, web)
    for vip, at in ((rig.vip, web.address), (six_of(POOL6, rig.vip), web.six)):
        for udp in (False, True):
            own = client.six if ":" in at else client.address
            assert reaches(client, web, vip, udp=udp, at=at) == own
            assert is_kept_from(db, web, vip, udp=udp, at=at)
    # An address that other nodes do not know, as a floating one.
    own6 = "fd00:69::1"
    here.run(f"ip addr add {own6}/64 dev eth0 nodad")
    rig.stranger.run("ip addr add fd00:69::9/64 dev eth0 nodad")
    for node, at in ((here.address, web.address), (own6, web.six)):
        assert asks(rig.stranger, node, web, at)


def balance(rig: Rig, node: Node, replica: Container) -> None:
    """Let a node balance what is asked of `replica`'s service, which is ready."""
    revision, routes = rig.topology().routes[SHOP]
    services = tuple(
        msgspec.structs.replace(
            service,
            endpoints=tuple(
                msgspec.structs.replace(endpoint, state=EndpointState.READY)
                for endpoint in service.endpoints
            ),
        )
        for service in routes.services
        if any(endpoint.allocation == replica.id for endpoint in service.endpoints)
    )
    topology = Topology(
        routes={SHOP: (revision, msgspec.structs.replace(routes, services=services))}
    )
    fabrics = Fabrics(*balances(node.settings, Nftables()))
    status = node.does(lambda: fabrics.apply(topology))
    assert (status.acked, status.problems) == ({SHOP: revision}, ()), status


def asks(who: Machine, address: str, replica: Container, at: str) -> bool:
    """Say whether a datagram to a published port gets to a replica, and its answer back."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = Listener(replica, at, 53, udp=True)
    client = who.inside(lambda: socket.socket(family, socket.SOCK_DGRAM))
    with client:
        client.settimeout(ANSWER_S)
        client.connect((address, 5353))
        client.send(b"x")
        try:
            return listener.got(ANSWER_S) is not None and client.recv(1) == b"x"
        except TimeoutError:
            return False
        finally:
            listener.close()


LED_CASES: Final[dict[str, Callable[[Rig], None]]] = {
    case.__name__: case
    for case in (
        what_the_kernel_led_elsewhere_is_judged_by_where_it_goes,
        what_is_balanced_gets_to_a_replica_of_another_node_and_its_answer_back,
    )
}
