"""Names, addresses and settings of a lab."""

from ipaddress import IPv4Address, IPv4Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.lab.plan import (
    CLIENT_NUMBER,
    HOSTS_MAX,
    POOL,
    RANGE,
    Paths,
    address_of,
    check_name,
    hosts_file,
    hosts_of,
    mac_of,
    members_of,
    overlapping,
    settings_of,
)
from shared.errors import SpecError
from shared.timing import LAN

COUNTS = st.integers(1, HOSTS_MAX)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,19}", fullmatch=True)
# The kernel's sockaddr_un has 108 bytes with the closing zero.
SOCKET_BYTES_MAX = 107


@given(COUNTS)
def test_no_two_machines_on_the_switch_share_anything(count: int) -> None:
    hosts = hosts_of(count, {})
    addresses = [host.address for host in hosts] + [address_of(CLIENT_NUMBER)]
    macs = [mac_of(number) for number in [*range(1, count + 1), CLIENT_NUMBER]]
    subnets = [IPv4Network(host.subnet) for host in hosts]

    assert len(set(addresses)) == len(set(macs)) == count + 1
    assert all(IPv4Address(address) in RANGE for address in addresses)
    assert len(set(subnets)) == count
    assert all(subnet.subnet_of(POOL) and subnet.prefixlen == 24 for subnet in subnets)
    assert not any(IPv4Address(address) in POOL for address in addresses)


@given(COUNTS)
def test_every_host_s_settings_fit_those_of_the_others(count: int) -> None:
    hosts = hosts_of(count, {})
    settings = [settings_of(host, hosts) for host in hosts]
    members = {each.node: each.address for each in settings if each.member is not None}

    assert len(members) == min(count, 3 if count < 7 else 5)
    for each in settings:
        assert {endpoint.partition(":")[0] for endpoint in each.etcd.endpoints} == {
            *members.values()
        }
        if each.member is not None:
            assert each.member.initial_cluster == members
            assert each.etcd.endpoints[0] == f"{each.address}:2379"


def test_etcd_can_grant_the_lease_that_agents_ask_for() -> None:
    assert 1000 * LAN.lease_ttl_s >= 1.5 * LAN.election_ms


@given(NAMES)
def test_sockets_of_every_lab_can_be_named_to_the_kernel(name: str) -> None:
    path = Paths(check_name(name)).api_socket(f"node-{HOSTS_MAX}")

    assert len(str(path).encode()) <= SOCKET_BYTES_MAX


@given(NAMES, NAMES)
def test_labs_of_different_names_share_no_path_and_no_route(one: str, two: str) -> None:
    first, second = Paths(one), Paths(two)
    mine = {first.state, first.run, first.lock, first.switch, first.client, first.metric}
    theirs = {second.state, second.run, second.lock, second.switch, second.client, second.metric}

    assert (mine == theirs) if one == two else not mine & theirs


@pytest.mark.parametrize("name", ["", "-a", "A", "a/b", "..", "a" * 21, "1", "a b"])
def test_a_name_that_cannot_be_a_path_is_refused(name: str) -> None:
    with pytest.raises(SpecError, match="cannot name a lab"):
        check_name(name)


@pytest.mark.parametrize("count", [0, -1, HOSTS_MAX + 1])
def test_a_lab_has_a_sensible_number_of_hosts(count: int) -> None:
    with pytest.raises(SpecError, match="hosts, not"):
        hosts_of(count, {})


def test_labels_reach_their_host_s_settings() -> None:
    hosts = hosts_of(2, {"node-2": {"zone": "a"}})

    assert settings_of(hosts[1], hosts).labels == {"zone": "a"}
    assert settings_of(hosts[0], hosts).labels == {}


def test_all_hosts_of_a_lab_have_its_network_mode() -> None:
    hosts = hosts_of(2, {}, "vxlan")

    assert {settings_of(host, hosts).network for host in hosts} == {"vxlan"}
    assert settings_of(hosts_of(1, {})[0], hosts_of(1, {})).network == "routed"


def test_a_label_for_nobody_is_refused() -> None:
    with pytest.raises(
        SpecError, match="a label is for node-3, but the hosts are node-1 to node-2"
    ):
        hosts_of(2, {"node-3": {"zone": "a"}})


def test_five_members_come_with_seven_hosts() -> None:
    assert [len(members_of(hosts_of(count, {}))) for count in (1, 2, 3, 6, 7)] == [1, 2, 3, 3, 5]


def test_hosts_find_each_other_by_name() -> None:
    hosts = hosts_of(2, {})

    assert hosts_file(hosts[0], hosts).splitlines()[-2:] == [
        "127.0.1.1 node-1",
        "198.18.0.2 node-2",
    ]


def test_a_real_route_into_the_range_is_a_clash_and_the_way_to_everything_is_none() -> None:
    routes = {"default": "eth0", "0.0.0.0/1": "tun0", "10.0.0.0/8": "eth1"}

    assert overlapping(routes) == []
    assert overlapping(
        routes | {"198.19.4.0/24": "eth2", "198.0.0.0/8": "", "198.18.7.7": "w"}
    ) == [
        "198.0.0.0/8 by no device",
        "198.18.7.7/32 by w",
        "198.19.4.0/24 by eth2",
    ]
