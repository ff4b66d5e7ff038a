"""`networks` of a service, value by value, and each refusal."""

import pytest

from deploy.compose.networks import JOINED_MAX
from shared.limits import ALIASES_MAX, NETWORKS_MAX
from shared.model import Joined
from tests.unit.deploy.compose.given import network_file as file
from tests.unit.deploy.compose.given import network_warnings as warnings
from tests.unit.deploy.compose.given import problems, understood


def part_of(part: str, network: str = "") -> Joined:
    """Return the service's part in the network."""
    (found,) = understood(file(network, part)).decoded.services[0].workload.networks
    return found


@pytest.mark.parametrize(
    ("part", "record"),
    [
        ("", Joined(network="shop_net")),
        ("{}", Joined(network="shop_net")),
        ("{aliases: [db, DB, api.example.com, db]}", ("db", "api.example.com")),
        ("{aliases: [web]}", ()),  # as it is called anyway
    ],
)
def test_what_a_part_in_a_network_becomes(part: str, record: Joined | tuple[str, ...]) -> None:
    wanted = record if isinstance(record, Joined) else Joined(network="shop_net", aliases=record)
    assert part_of(part) == wanted


def test_an_address_is_of_the_networks_subnet() -> None:
    network = "{ipam: {config: [{subnet: 10.1.0.0/16}]}}"
    assert part_of("{ipv4_address: 10.1.2.3}", network).address == "10.1.2.3"


@pytest.mark.parametrize(
    ("part", "warning"),
    [
        (
            "{interface_name: net0}",
            "interface_name: a container has one interface for all its networks: eth0",
        ),
        (
            "{priority: 100}",
            "priority: a container has one interface for all its networks: there is no order",
        ),
        (
            "{gw_priority: 1}",
            "gw_priority: a container has one interface for all its networks: there is no order",
        ),
        (
            "{driver_opts: {a: b}}",
            "driver_opts: hafen hands no options to a driver: its networks have none",
        ),
    ],
)
def test_what_a_part_in_a_network_does_not_need_is_said(part: str, warning: str) -> None:
    assert warnings("", part) == [f"4: services.web.networks.net.{warning}"]


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ("[a]", ": expected a mapping, got a list"),
        ("{alias: [a]}", ".alias: hafen does not know this key yet; did you mean aliases?"),
        ("{aliases: a}", '.aliases: expected a list, got "a"'),
        ("{aliases: [a b]}", '.aliases[0]: "a b" is no name in DNS: use A-Z, a-z, 0-9, _ and -'),
        ("{aliases: [a, b-]}", '.aliases[1]: "b-" is no name in DNS'),
        ("{aliases: ['']}", '.aliases[0]: "" is no name in DNS'),
        (
            f"{{aliases: [a.{'x' * 64}]}}",
            f'.aliases[0]: "{"x" * 39}…" has 64 characters; 63 are the most',
        ),
        (
            f"{{aliases: [{'.'.join(['abc'] * 64)}]}}",
            f'.aliases[0]: "{"abc." * 9}abc…" has 255 characters; 253 are the most',
        ),
        (
            f"{{aliases: [{', '.join(f'a{n}' for n in range(ALIASES_MAX + 1))}]}}",
            f".aliases: 65 aliases; {ALIASES_MAX} are the most on a network",
        ),
        (
            "{ipv4_address: 'fd00::1'}",
            '.ipv4_address: expected an IPv4 address such as 172.20.0.10, got "fd00::1"',
        ),
        (
            "{ipv6_address: 'fd00::1'}",
            ".ipv6_address: hafen gives no fixed IPv6 addresses; use the service's name",
        ),
        (
            "{link_local_ips: [169.254.8.8]}",
            ".link_local_ips: a container has no further addresses; leave it out, or write",
        ),
        (
            "{mac_address: '02:42:ac:11:65:43'}",
            ".mac_address: hafen chooses the addresses of containers; leave it out",
        ),
    ],
)
def test_what_a_part_in_a_network_cannot_be(part: str, why: str) -> None:
    (line,) = problems(file("", part))
    assert line.startswith(f"a.yaml:4: services.web.networks.net{why}")


def test_a_service_names_networks_of_the_file_once() -> None:
    text = """
    services:
      a: {image: a, networks: [front, fornt]}
      b: {image: b, networks: {back: }}
      c:
        image: c
        networks:
          - front
          - front
      d: {image: d, networks: front}
    networks: {front: }
    """
    missing = "in `networks` at the top of the file"
    assert problems(text) == [
        f'a.yaml:3: services.a.networks[1]: there is no network "fornt" {missing}',
        f'a.yaml:4: services.b.networks.back: there is no network "back" {missing}',
        'a.yaml:9: services.c.networks[1]: "front" is in line 8 already',
        'a.yaml:10: services.d.networks: expected a list or a mapping, got "front"',
    ]


def test_there_is_an_end_to_networks() -> None:
    names = [f"n{n}" for n in range(NETWORKS_MAX + 1)]
    top = "networks: {" + ", ".join(f"{name}: " for name in names) + "}"
    assert problems(f"services: {{web: {{image: a}}}}\n{top}\n") == [
        f"a.yaml:2: networks: 101 networks; {NETWORKS_MAX} are the most"
    ]
    top = "networks: {" + ", ".join(f"{name}: " for name in names[:-1]) + "}"
    own = ", ".join(names[: JOINED_MAX + 1])
    assert problems(f"services: {{web: {{image: a, networks: [{own}]}}}}\n{top}\n") == [
        (f"a.yaml:1: services.web.networks: 65 networks; {JOINED_MAX} are the most for a service")
    ]
