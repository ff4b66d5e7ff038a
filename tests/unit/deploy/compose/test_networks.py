"""`networks` at the top of a file, value by value, and each refusal."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model import Joined, Network
from tests.unit.deploy.compose.given import network_file as file
from tests.unit.deploy.compose.given import network_warnings as warnings
from tests.unit.deploy.compose.given import problems, understood


def made(network: str) -> Network:
    """Return the network that a file makes."""
    (found,) = understood(file(network)).decoded.networks
    return found


@pytest.mark.parametrize(
    ("network", "record"),
    [
        ("", Network(name="shop_net")),
        ("{}", Network(name="shop_net")),
        ("{name: Other.net}", Network(name="Other.net")),
        ("{driver: bridge}", Network(name="shop_net")),
        ("{driver: overlay, attachable: true}", Network(name="shop_net")),
        ("{driver: }", Network(name="shop_net")),
        ("{internal: true}", Network(name="shop_net", internal=True)),
        ("{enable_ipv4: true, external: false}", Network(name="shop_net")),
        ("{ipam: , x-note: a}", Network(name="shop_net")),
        ("{ipam: {driver: default, config: []}}", Network(name="shop_net")),
        (
            "{ipam: {config: [{subnet: 172.20.0.0/24}]}}",
            Network(name="shop_net", subnet="172.20.0.0/24"),
        ),
        (
            "{ipam: {config: [{subnet: 172.20.0.7/24}]}}",
            Network(name="shop_net", subnet="172.20.0.0/24"),
        ),
    ],
)
def test_what_a_network_becomes(network: str, record: Network) -> None:
    assert made(network) == record
    assert warnings(network) == []


@pytest.mark.parametrize(
    ("network", "name"),
    [
        ("{external: true}", "net"),
        ("{external: true, name: other}", "other"),
        ("{external: {name: other}}", "other"),
        ("{external: true, name: other, labels: {}}", "other"),
    ],
)
def test_a_network_that_is_made_elsewhere_is_joined_only(network: str, name: str) -> None:
    found = understood(file(network)).decoded
    assert found.networks == ()
    assert found.services[0].workload.networks == (Joined(network=name),)


@pytest.mark.parametrize(
    ("network", "warning"),
    [
        ("{labels: {a: b}}", "6: networks.net.labels: hafen keeps no labels of networks"),
        (
            "{enable_ipv6: true}",
            (
                "6: networks.net.enable_ipv6: whether containers have IPv6 is said for the whole "
                "cluster"
            ),
        ),
        (
            "{driver_opts: {com.docker.network.driver.mtu: 1400}}",
            (
                "6: networks.net.driver_opts: hafen hands no options to a driver: its networks "
                "have none"
            ),
        ),
        (
            "{ipam: {options: {a: b}}}",
            "6: networks.net.ipam.options: hafen chooses addresses itself",
        ),
        (
            "{ipam: {config: [{subnet: 'fd00::/64'}]}}",
            (
                "6: networks.net.ipam.config[0].subnet: containers have IPv6 addresses of their "
                "nodes, if any; none is of this subnet"
            ),
        ),
        (
            "{ipam: {config: [{gateway: 172.20.0.1}]}}",
            "6: networks.net.ipam.config[0].gateway: a container's gateway is its node",
        ),
        (
            "{ipam: {config: [{ip_range: 172.20.0.0/25}]}}",
            (
                "6: networks.net.ipam.config[0].ip_range: containers have addresses of their "
                "nodes; only fixed ones are of this subnet"
            ),
        ),
        (
            "{ipam: {config: [{aux_addresses: {a: 172.20.0.9}}]}}",
            (
                "6: networks.net.ipam.config[0].aux_addresses: hafen gives out no address of this "
                "subnet by itself: none has to be kept free"
            ),
        ),
    ],
)
def test_what_a_network_does_not_need_is_said(network: str, warning: str) -> None:
    assert warnings(network) == [warning]


NO_NAME = "use at most 128 of A-Z, a-z, 0-9, _, . and -, beginning with a letter or digit"
ONE_LINK = (
    "it would put containers onto a link of one host; leave the driver out and publish ports, or "
    "write network_mode: host in the service"
)
ELSEWHERE = "the network is made elsewhere, and this is said there; leave it out"


@pytest.mark.parametrize(
    ("network", "why"),
    [
        ("[]", "net: expected a mapping, got a list"),
        ("{name: a/b}", f'net: "a/b" cannot name a network: {NO_NAME}'),
        ("{external: true, name: -b}", f'net: "-b" cannot name a network: {NO_NAME}'),
        (
            "{external: true, name: host}",
            'net: "host" is a network of Docker\'s own; write network_mode: host in the service',
        ),
        (
            "{name: bridge}",
            (
                'net: "bridge" is a network of Docker\'s own; leave it out: services that name no '
                "network are on the stack's own"
            ),
        ),
        ("{external: true, internal: true}", f"net.internal: {ELSEWHERE}"),
        ("{external: {name: x}, driver: bridge}", f"net.driver: {ELSEWHERE}"),
        ("{driver: macvlan}", f'net.driver: "macvlan": {ONE_LINK}'),
        ("{driver: ipvlan}", f'net.driver: "ipvlan": {ONE_LINK}'),
        (
            "{driver: host}",
            'net.driver: "host": write network_mode: host in the service instead of a network',
        ),
        (
            "{driver: none}",
            'net.driver: "none": write network_mode: none in the service instead of a network',
        ),
        (
            "{driver: weave}",
            (
                'net.driver: "weave": hafen makes networks itself and has no plugins; leave the '
                "driver out"
            ),
        ),
        (
            "{driver_opts: {encrypted: true}}",
            (
                "net.driver_opts: hafen does not encrypt what containers send between nodes; leave "
                "encrypted out if the nodes' segment may read it"
            ),
        ),
        (
            "{driver_opts: [com.docker.network.bridge.enable_icc=false]}",
            (
                "net.driver_opts: containers of one network reach each other; give every service a "
                "network of its own"
            ),
        ),
        ("{enable_ipv4: false}", "net.enable_ipv4: every container has an IPv4 address; leave it"),
        ("{internal: maybe}", 'net.internal: expected true or false, got "maybe"'),
        ("{subnet: 1}", "net.subnet: hafen does not know this key yet"),
        (
            "{ipam: {driver: mine}}",
            "net.ipam.driver: hafen chooses addresses itself and has no plugins; leave the driver",
        ),
        (
            "{ipam: {config: [{subnet: here}]}}",
            'net.ipam.config[0].subnet: expected a subnet such as 172.20.0.0/24, got "here"',
        ),
        (
            "{ipam: {config: [{subnet: 10.0.0.0/7}]}}",
            "net.ipam.config[0].subnet: 10.0.0.0/7: from /8 to /30 are possible",
        ),
        (
            "{ipam: {config: [{subnet: 10.0.0.0/31}]}}",
            "net.ipam.config[0].subnet: 10.0.0.0/31: from /8 to /30 are possible",
        ),
        (
            "{ipam: {config: [{subnet: 127.1.0.0/16}]}}",
            "net.ipam.config[0].subnet: 127.1.0.0/16 is no subnet for containers; one is",
        ),
        (
            "{ipam: {config: [{subnet: 10.1.0.0/24}, {subnet: 10.2.0.0/24}]}}",
            "net.ipam.config[1].subnet: a network has one IPv4 subnet, and line 6 has 10.1.0.0/24",
        ),
        (
            "{ipam: {config: [{gateway: me}]}}",
            'net.ipam.config[0].gateway: expected an IP address, got "me"',
        ),
    ],
)
def test_what_no_network_can_be(network: str, why: str) -> None:
    (line,) = problems(file(network))
    assert line.startswith(f"a.yaml:6: networks.{why}")


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("a.b", '"a.b" is no name in DNS: use A-Z, a-z, 0-9, _ and -, and no - at either end'),
        ("-a", '"-a" is no name in DNS: use A-Z, a-z, 0-9, _ and -, and no - at either end'),
        ("x" * 64, f'"{"x" * 39}…" has 64 characters; 63 are the most'),
    ],
)
def test_the_key_of_a_network_is_a_name(key: str, why: str) -> None:
    text = f"services: {{web: {{image: a, networks: [{key}]}}}}\nnetworks: {{{key}: }}\n"
    (line,) = problems(text)
    shown = f'"{key}"' if "." in key or key.startswith("-") else key
    assert line == f"a.yaml:2: networks.{shown}: {why}"


def test_no_two_networks_have_the_same_name_or_subnet() -> None:
    text = """
    services: {web: {image: a}}
    networks:
      a: {ipam: {config: [{subnet: 10.1.0.0/16}]}}
      b: {name: shop_a}
      c:
        ipam:
          config: [{subnet: 10.1.255.0/24}]
      d: {external: true, name: shop_a}
    """
    shared = '"shop_a" is the name of a network in a.yaml'
    assert problems(text) == [
        f"a.yaml:5: networks.b: {shared}:4 already",
        (
            "a.yaml:8: networks.c.ipam.config: 10.1.255.0/24 overlaps with 10.1.0.0/16, which is "
            "in a.yaml:4"
        ),
        f"a.yaml:9: networks.d: {shared}:4 already",
        f"a.yaml:9: networks.d: {shared}:5 already",
    ]


SUBNETS = st.builds(
    lambda first, bits: ipaddress.ip_network((first << 24, bits), strict=False),
    st.integers(10, 13),
    st.integers(8, 30),
)


@given(SUBNETS, SUBNETS)
def test_two_subnets_are_refused_exactly_when_an_address_is_in_both(
    one: ipaddress.IPv4Network, other: ipaddress.IPv4Network
) -> None:
    text = f"""
    services: {{web: {{image: a, networks: [a, b]}}}}
    networks:
      a: {{ipam: {{config: [{{subnet: {one}}}]}}}}
      b: {{ipam: {{config: [{{subnet: {other}}}]}}}}
    """
    if one.overlaps(other):
        assert len(problems(text)) == 1
    else:
        subnets = [each.subnet for each in understood(text).decoded.networks]
        assert subnets == [str(one), str(other)]
