"""Addresses: never one twice, only a container's, a freed one as late as possible."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from node_agent.network.addresses import capacity_of, gateway_of, pick

SUBNET = "198.19.7.0/28"
FREE = [f"198.19.7.{last}" for last in range(2, 15)]


def test_the_bridge_has_the_first_address_and_the_rest_but_broadcast_is_for_containers() -> None:
    assert gateway_of(SUBNET) == "198.19.7.1"
    assert capacity_of(SUBNET) == len(FREE)


def test_addresses_go_round_before_one_comes_again() -> None:
    given_, last = [], ""
    for _ in range(2 * len(FREE)):
        address = pick(SUBNET, (), last)
        assert address is not None
        given_.append(address)
        last = address
    assert given_ == FREE * 2


@given(st.sets(st.sampled_from(FREE)), st.sampled_from(["", "203.0.113.9", *FREE]))
def test_what_is_given_is_free_and_a_container_s(taken: set[str], last: str) -> None:
    address = pick(SUBNET, taken, last)
    if len(taken) == len(FREE):
        assert address is None
        return
    assert address is not None
    assert address not in taken
    assert address in FREE
    assert ipaddress.IPv4Address(address) in ipaddress.IPv4Network(SUBNET)
