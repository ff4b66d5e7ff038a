"""What follows from a subnet and an address."""

from node_agent.network.addresses import gateway_of, mac_of


def test_the_bridge_has_the_first_address() -> None:
    assert gateway_of("198.19.7.0/28") == "198.19.7.1"


def test_a_link_s_address_is_local_and_follows_from_the_container_s() -> None:
    assert mac_of("198.19.7.2") == "02:68:c6:13:07:02"
