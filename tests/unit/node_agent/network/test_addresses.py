"""What follows from a subnet and an address."""

from node_agent.network.addresses import mac_of


def test_a_link_s_address_is_local_and_follows_from_the_container_s() -> None:
    assert mac_of("198.19.7.2") == "02:68:c6:13:07:02"
