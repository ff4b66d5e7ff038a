"""What test_separation.py runs, one case a process: who reaches whom on real kernels.

Every case runs in each mode: routed, VXLAN, and routed with IPv6.
"""

import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from node_agent.network.addresses import mac_of, six_of
from tests.contract.led_cases import LED_CASES
from tests.contract.network_rig import (
    METRICS,
    POOL6,
    PUBLISHED,
    SILENCE_S,
    STRANGER,
    UNPUBLISHED,
    Container,
    Listener,
    Machine,
    Rig,
    fits,
    is_kept_from,
    reaches,
)
from tests.contract.scan import PORTS, send_everywhere

# Neighbours ask each other by ICMPv6 whatever a scan does.
_COUNT: Final = "type filter hook input priority -300; meta l4proto { tcp, udp } counter"
_ARRIVED: Final = f"table inet t {{ chain c {{ {_COUNT}; }}; }}"
MODES: Final[dict[str, dict[str, Any]]] = {
    "routed": {"pool6": POOL6},
    "vxlan": {"network": "vxlan", "pool6": POOL6},
}


def addresses(one: Container) -> tuple[str, str]:
    return (one.address, one.six)


def talks(who: Container, target: Container) -> list[str]:
    """Return every way in which `who` gets to `target`."""
    ways = []
    for address in addresses(target):
        ways += [f"tcp {address}"] if reaches(who, target, address) else []
        ways += [f"udp {address}"] if reaches(who, target, address, udp=True) else []
        ways += [f"ping {address}"] if who.pings(address) else []
    return ways


def are_strangers(who: Container, target: Container) -> bool:
    """Say that `who` gets to `target` in no way."""
    return all(
        is_kept_from(who, target, address)
        and is_kept_from(who, target, address, udp=True)
        and not who.pings(address, SILENCE_S)
        for address in addresses(target)
    )


def all_ways(target: Container) -> list[str]:
    return [f"{way} {a}" for a in addresses(target) for way in ("tcp", "udp", "ping")]


def who_shares_a_network_talks_on_one_node_and_across(rig: Rig) -> None:
    rig.network("front")
    one, near = rig.attach("shop.web.1.a", 1, "front"), rig.attach("shop.web.2.a", 1, "front")
    far = rig.attach("shop.web.3.a", 2, "front")
    rig.apply()
    assert talks(one, near) == all_ways(near)
    assert talks(one, far) == all_ways(far)
    assert reaches(one, far, far.address) == one.address  # as itself, not as its node
    assert reaches(one, far, far.six) == one.six


def who_shares_none_gets_no_answer(rig: Rig) -> None:
    rig.network("front")
    rig.network("back")
    web, other = rig.attach("shop.web.1.a", 1, "front"), rig.attach("shop.db.1.a", 1, "back")
    far = rig.attach("shop.db.2.a", 2, "back")
    both = rig.attach("shop.api.1.a", 2, "front", "back")
    rig.apply()
    assert all(are_strangers(*two) for two in ((web, other), (web, far), (far, web)))
    assert talks(both, web) == all_ways(web)
    assert talks(both, other) == all_ways(other)


def no_port_of_a_strange_container_answers(rig: Rig) -> None:
    rig.network("front")
    rig.network("back")
    web = rig.attach("shop.web.1.a", 1, "front")
    both = rig.attach("shop.api.1.a", 1, "front", "back")
    near, far = rig.attach("shop.db.1.a", 1, "back"), rig.attach("shop.db.2.a", 2, "back")
    rig.apply()
    for each in (near, far):
        each.run(f"nft {_ARRIVED}")
        for address in addresses(each):
            scan(web, address)
        assert arrived(each) == 0
    scan(both, near.address)  # Who may gets everywhere by it, and so would the other one.
    assert arrived(near) >= 2 * len(PORTS)


def arrived(one: Container) -> int:
    """Return how many packets of a scan have come."""
    found = re.search(r"packets (\d+)", one.run("nft list table inet t"))
    assert found is not None
    return int(found.group(1))


def scan(who: Container, address: str) -> None:
    """Send a packet to every UDP port and a SYN to every TCP port."""
    who.inside(lambda: send_everywhere(who.six if ":" in address else who.address, address))


def a_container_cannot_say_to_be_another(rig: Rig) -> None:
    rig.network("front")
    rig.network("back")
    liar = rig.attach("shop.web.1.a", 1, "front")
    db, near = rig.attach("shop.db.1.a", 2, "back"), rig.attach("shop.db.2.a", 1, "back")
    rig.apply()
    lies = (near.address, db.address, rig.nodes[0].address, rig.nodes[1].gateway, STRANGER)
    for target in (db, near):
        for lie in lies:
            assert not heard_as(liar, lie, target, target.address)
        for lie in (near.six, db.six):
            assert not heard_as(liar, lie, target, target.six)


def heard_as(liar: Machine, lie: str, target: Machine, address: str) -> bool:
    """Say whether a packet with a source that is a lie arrives."""
    if lie == address:
        return False  # It would not even leave.
    liar.run(f"ip addr add {lie} dev lo{' nodad' if ':' in lie else ''}")
    try:
        return heard_from(liar, lie, target, address)
    finally:
        liar.run(f"ip addr del {lie} dev lo")


def heard_from(who: Machine, source: str, target: Machine, address: str) -> bool:
    """Say whether a packet arrives that `who` sends from an address that it has."""
    family = socket.AF_INET6 if ":" in source else socket.AF_INET
    listener = Listener(target, address, 4711, udp=True)
    try:
        with who.inside(lambda: socket.socket(family, socket.SOCK_DGRAM)) as sender:
            sender.bind((source, 0))
            sender.sendto(b"x", (address, 4711))
        return listener.got(SILENCE_S) is not None
    finally:
        listener.close()


def an_internal_network_has_no_way_out(rig: Rig) -> None:
    rig.network("front")
    rig.network("back", internal=True)
    shut, free = rig.attach("shop.db.1.a", 1, "back"), rig.attach("shop.web.1.a", 1, "front")
    both, far = rig.attach("shop.api.1.a", 1, "front", "back"), rig.attach("shop.db.2.a", 2, "back")
    rig.apply()
    for node in rig.nodes:
        assert is_kept_from(shut, node, node.address, PUBLISHED)
        assert is_kept_from(shut, node, node.address, 5353, udp=True)
        assert reaches(free, node, node.address, PUBLISHED)
    for udp in (False, True):
        assert is_kept_from(shut, rig.stranger, STRANGER, udp=udp)
        # As the node: the stranger knows no way back to containers.
        assert reaches(free, rig.stranger, STRANGER, udp=udp) == rig.nodes[0].address
        assert reaches(both, rig.stranger, STRANGER, udp=udp) == rig.nodes[0].address
    assert talks(shut, far) == all_ways(far)
    assert reaches(shut, rig.nodes[0], rig.nodes[0].gateway, 53, udp=True) == shut.address


def of_nodes_only_what_is_published_answers(rig: Rig) -> None:
    rig.network("front")
    web = rig.attach("shop.web.1.a", 1, "front")
    rig.apply()
    here, far = rig.nodes
    for node in (here, far):
        for address in (node.address, node.gateway):
            assert reaches(web, node, address, PUBLISHED)
            assert reaches(web, node, address, METRICS)
            assert reaches(web, node, address, 5353, udp=True)
            assert is_kept_from(web, node, address, UNPUBLISHED)
            assert is_kept_from(web, node, address, UNPUBLISHED, udp=True)
    assert reaches(web, here, here.gateway, 53)
    assert reaches(web, here, here.gateway, 53, udp=True)
    assert is_kept_from(web, far, far.gateway, 53)
    assert web.pings(here.gateway)
    assert not web.pings(here.address, SILENCE_S)
    assert not web.pings(far.address, SILENCE_S)


def a_gateway_reaches_containers_everywhere_and_a_stranger_none(rig: Rig) -> None:
    rig.network("front")
    web = rig.attach("shop.web.1.a", 1, "front")
    rig.apply()
    here, far = rig.nodes
    rig.stranger.run(f"ip route add {here.subnet} via {here.address}")
    for udp in (False, True):
        assert reaches(here, web, web.address, udp=udp)
        assert reaches(far, web, web.address, udp=udp)
        assert is_kept_from(rig.stranger, web, web.address, udp=udp)
    assert not rig.stranger.pings(web.address, SILENCE_S)


def a_fixed_address_is_reached_from_everywhere(rig: Rig) -> None:
    rig.network("front", subnet="198.18.20.0/24")
    fixed = rig.attach("shop.db.1.a", 1, "front", fixed=("198.18.20.5",))
    near, far = rig.attach("shop.web.1.a", 1, "front"), rig.attach("shop.web.2.a", 2, "front")
    rig.apply()
    for who in (near, far):
        assert reaches(who, fixed, "198.18.20.5") == who.address
        assert reaches(who, fixed, "198.18.20.5", udp=True) == who.address


def a_fixed_address_cannot_be_said_by_another(rig: Rig) -> None:
    rig.network("front", subnet="198.18.20.0/24")
    web, liar = rig.attach("shop.web.1.a", 1, "front"), rig.attach("shop.web.2.a", 1, "front")
    near = rig.attach("shop.db.1.a", 1, "front", fixed=("198.18.20.5",))
    far = rig.attach("shop.db.2.a", 2, "front", fixed=("198.18.20.6",))
    away = rig.attach("shop.web.3.a", 2, "front")
    rig.apply()
    here, _ = rig.nodes
    rig.stranger.run(f"ip route add {here.subnet} via {here.address}")
    here.run("ip addr add fd00:69::1/64 dev eth0 nodad")
    rig.stranger.run("ip addr add fd00:69::9/64 dev eth0 nodad")
    rig.stranger.run(f"ip route add {web.six} via fd00:69::1")
    for owner in (near, far):
        (four,) = owner.asked.fixed
        for lie, address in ((four, web.address), (six_of(POOL6, four), web.six)):
            assert heard_from(owner, lie, web, address)
            assert not heard_as(liar, lie, web, address)
            assert not heard_as(away, lie, web, address)
            if here.settings.is_vxlan:
                assert not heard_as(rig.stranger, lie, web, address), (lie, address)


def full_packets_pass_and_links_fit_the_segment(rig: Rig) -> None:
    rig.network("front")
    one, far = rig.attach("shop.web.1.a", 1, "front"), rig.attach("shop.web.2.a", 2, "front")
    rig.apply()
    fitting = 1350 if rig.nodes[0].settings.is_vxlan else 1400
    for each in (one, far):
        assert f" mtu {fitting} " in each.run("ip link show eth0")
    assert fits(one, far, far.address, fitting)
    assert not fits(one, far, far.address, fitting + 1, SILENCE_S)


def a_node_that_is_at_another_address_is_reached_again(rig: Rig) -> None:
    rig.network("front")
    one, far = rig.attach("shop.web.1.a", 1, "front"), rig.attach("shop.web.2.a", 2, "front")
    rig.apply()
    moved = rig.nodes[1]
    moved.run(f"ip addr del {moved.address}/24 dev eth0")
    moved.run("ip addr add 198.18.0.77/24 dev eth0")
    moved.move("198.18.0.77")
    rig.apply()
    assert talks(one, far) == all_ways(far)
    assert talks(far, one) == all_ways(one)


def each_end_refuses_alone(rig: Rig) -> None:
    """One node has heard that they share a network, the other has not."""
    rig.network("front")
    rig.network("back")
    web, far = rig.attach("shop.web.1.a", 1, "front"), rig.attach("shop.db.1.a", 2, "back")
    rig.apply()
    apart = rig.topology()
    for refuses in rig.nodes:
        web.asked = msgspec.structs.replace(web.asked, networks=("back", "front"))
        rig.apply()
        assert talks(web, far) == all_ways(far)
        web.asked = msgspec.structs.replace(web.asked, networks=("front",))
        refuses.apply(apart)
        assert are_strangers(web, far)


def who_is_in_no_map_reaches_nothing_and_is_reached_by_nobody(rig: Rig) -> None:
    rig.network("front")
    one, near = rig.attach("shop.web.1.a", 1, "front"), rig.attach("shop.web.2.a", 1, "front")
    rig.apply()
    here, _ = rig.nodes
    for which, name in (("into", near), ("outof", one)):
        here.run(f"nft delete element inet hafen {which}4 {{ {name.address} }}")
        assert is_kept_from(one, near, near.address, udp=True)
        rig.apply()
        assert reaches(one, near, near.address, udp=True)


def a_stranger_cannot_say_to_be_a_container(rig: Rig) -> None:
    rig.network("front")
    web, near = rig.attach("shop.web.1.a", 1, "front"), rig.attach("shop.web.2.a", 1, "front")
    far = rig.attach("shop.web.3.a", 2, "front")
    rig.apply()
    here, _ = rig.nodes
    rig.stranger.run(f"ip route add {here.subnet} via {here.address}")
    lies = (near.address, far.address) if here.settings.is_vxlan else (near.address,)
    for lie in lies:
        assert not heard_as(rig.stranger, lie, web, web.address)
    # By an address of the segment's own, whatever IPv6 addresses nodes have besides.
    here.run("ip addr add fd00:69::1/64 dev eth0 nodad")
    rig.stranger.run("ip addr add fd00:69::9/64 dev eth0 nodad")
    rig.stranger.run(f"ip route add {web.six} via fd00:69::1")
    for lie in (near.six, far.six) if here.settings.is_vxlan else (near.six,):
        assert not heard_as(rig.stranger, lie, web, web.six)
    if here.settings.is_vxlan:
        rig.stranger.run(f"ip route del {here.subnet}")
        rig.stranger.run(
            f"ip link add vx type vxlan id 72 local {STRANGER} remote {here.address} dstport 4789"
        )
        rig.stranger.run("ip link set vx up")
        rig.stranger.run(f"ip route add {here.subnet} via {here.gateway} dev vx onlink")
        rig.stranger.run(f"ip neigh add {here.gateway} lladdr {mac_of(here.gateway)} dev vx")
        assert not heard_as(rig.stranger, far.address, web, web.address)
        here.run("nft flush chain inet hafen input")
        assert heard_as(rig.stranger, far.address, web, web.address)


CASES: Final[dict[str, Callable[[Rig], None]]] = {
    case.__name__: case
    for case in (
        who_shares_a_network_talks_on_one_node_and_across,
        who_shares_none_gets_no_answer,
        no_port_of_a_strange_container_answers,
        a_container_cannot_say_to_be_another,
        an_internal_network_has_no_way_out,
        of_nodes_only_what_is_published_answers,
        a_gateway_reaches_containers_everywhere_and_a_stranger_none,
        a_fixed_address_is_reached_from_everywhere,
        a_fixed_address_cannot_be_said_by_another,
        full_packets_pass_and_links_fit_the_segment,
        a_node_that_is_at_another_address_is_reached_again,
        each_end_refuses_alone,
        who_is_in_no_map_reaches_nothing_and_is_reached_by_nobody,
        a_stranger_cannot_say_to_be_a_container,
    )
} | LED_CASES


if __name__ == "__main__":
    CASES[sys.argv[1]](Rig(Path(sys.argv[3]), 2, **MODES[sys.argv[2]]))
