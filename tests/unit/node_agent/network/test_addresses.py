"""What follows from a subnet and an address."""

from node_agent.network.addresses import mac_of, six_in


def test_a_link_s_address_is_local_and_follows_from_the_container_s() -> None:
    assert mac_of("198.19.7.2") == "02:68:c6:13:07:02"


def test_what_is_of_the_containers_pool_has_an_ipv6_address_and_nothing_else_has() -> None:
    pool, pool6 = "198.19.0.0/16", "fd00:68::/96"
    assert six_in(pool6, pool, "198.19.7.2") == "fd00:68::c613:702"
    assert six_in(pool6, pool, "198.18.0.1") == ""  # a node's own
    assert six_in("", pool, "198.19.7.2") == six_in(pool6, "", "198.19.7.2") == ""
