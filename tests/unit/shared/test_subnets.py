"""Addresses: never one twice, only a container's, a freed one as late as possible."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from shared.subnets import capacity_of, gateway_of, network_of, pick, taken_of

SUBNET = "198.19.7.0/28"
FREE = [f"198.19.7.{last}" for last in range(2, 15)]


def test_all_but_network_bridge_and_broadcast_are_for_containers() -> None:
    assert capacity_of(SUBNET) == len(FREE)


def test_the_bridge_has_the_first_address() -> None:
    assert gateway_of(SUBNET) == "198.19.7.1"


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


@given(st.sets(st.sampled_from(FREE)))
def test_what_is_counted_as_taken_is_what_pick_leaves_out(taken: set[str]) -> None:
    strangers = {"198.19.7.0", "198.19.7.1", "198.19.7.15", "198.19.8.3", "no address", ""}
    assert taken_of(SUBNET, taken | strangers) == len(taken)


def test_what_is_no_network_has_nothing_to_give() -> None:
    for text in ("198.19.260.0/24", "", "198.19.7.1/24"):
        assert network_of(text) is None
        assert (capacity_of(text), taken_of(text, FREE), pick(text, (), "")) == (0, 0, None)
