"""The `ports` of services."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.compose.ports import PORTS_MAX
from shared.model import Protocol, PublishedPort
from shared.settings import RESERVED_PORTS
from tests.unit.deploy.compose.given import (
    problems,
    services,
    web_problems,
    web_warnings,
    workload,
)


def published(value: str) -> list[tuple[int, int, Protocol]]:
    """Return (published, target, protocol) of what stands under `ports`."""
    return [(p.published, p.target, p.protocol) for p in workload(f"ports: {value}").ports]


TCP, UDP, HTTP = Protocol.TCP, Protocol.UDP, Protocol.HTTP


@pytest.mark.parametrize(
    ("value", "ports"),
    [
        ("", []),
        ("[]", []),
        ("['8080:80']", [(8080, 80, TCP)]),
        ("[8080:80]", [(8080, 80, TCP)]),
        ("['8080:80/tcp']", [(8080, 80, TCP)]),
        ("['8000-8002:80-82']", [(8000, 80, TCP), (8001, 81, TCP), (8002, 82, TCP)]),
        ("['53:53/udp']", [(53, 53, UDP)]),
        ("['60-61:70-71/udp']", [(60, 70, UDP), (61, 71, UDP)]),
        ("['53:53', '53:53/udp']", [(53, 53, TCP), (53, 53, UDP)]),
        ("[{target: 53, published: 53, protocol: udp}]", [(53, 53, UDP)]),
        ("['8080:80', '8081:80']", [(8080, 80, TCP), (8081, 80, TCP)]),
        ("[{target: 80, published: 8080}]", [(8080, 80, TCP)]),
        ("[{target: '80', published: '8080'}]", [(8080, 80, TCP)]),
        ("[{target: 80, published: 8080, app_protocol: http}]", [(8080, 80, HTTP)]),
        ("[{target: 80, published: 8080, app_protocol: tcp}]", [(8080, 80, TCP)]),
        (
            "[{target: 80, published: 8080, protocol: tcp, mode: ingress, name: web, x-a: 1}]",
            [(8080, 80, TCP)],
        ),
    ],
)
def test_forms_of_a_port(value: str, ports: list[tuple[int, int, Protocol]]) -> None:
    assert published(value) == ports


def test_a_port_may_be_open_on_nodes_with_a_replica_only() -> None:
    host, both = workload("""
        ports:
          - {target: 53, published: 53, protocol: udp, mode: host}
          - {target: 80, published: 80, app_protocol: http, mode: ingress}
        """).ports
    assert host == PublishedPort(published=53, target=53, protocol=UDP, is_host=True)
    assert both == PublishedPort(published=80, target=80, protocol=HTTP)


PORTS = st.integers(1, 65_535).filter(lambda port: port not in RESERVED_PORTS)


@given(PORTS, st.integers(1, 65_535), st.sampled_from([TCP, UDP]))
def test_both_forms_say_the_same(outer: int, inner: int, protocol: Protocol) -> None:
    expected = (PublishedPort(published=outer, target=inner, protocol=protocol),)
    assert workload(f"ports: ['{outer}:{inner}/{protocol}']").ports == expected
    long = f"target: {inner}, published: {outer}, protocol: {protocol}"
    assert workload(f"ports: [{{{long}}}]").ports == expected


CHOICE = (
    "it is not published: Compose would choose a port at random, and here every node would have to "
    "choose the same; to publish it, write"
)
ANY = "expected a port such as"


def meant_for(address: str) -> str:
    """Return why an address is refused."""
    return (
        f"hafen publishes on every address of every node, so what is meant for {address} only "
        'would be open to all; write "8080:80" if it may be, or leave the port out: containers '
        "reach each other without"
    )


@pytest.mark.parametrize(
    ("value", "warning"),
    [
        ("[80]", f'ports[0]: {CHOICE} "8080:80"'),
        ("['80/tcp']", f'ports[0]: {CHOICE} "8080:80"'),
        ("[{target: 80}]", f'ports[0]: {CHOICE} "8080:80"'),
        ("['53/udp']", f'ports[0]: {CHOICE} "8080:53/udp"'),
        ("[{target: 53, protocol: udp}]", f'ports[0]: {CHOICE} "8080:53/udp"'),
    ],
)
def test_what_is_not_published_as_compose_would_is_said(value: str, warning: str) -> None:
    body = f"ports: {value}"
    assert workload(body).ports == ()
    assert web_warnings(body) == [warning]


@pytest.mark.parametrize("value", ["['0.0.0.0:81:80']", "['[::]:81:80']", "['0.0.0.0:81:80/tcp']"])
def test_an_address_that_means_every_one_may_be_written(value: str) -> None:
    assert published(value) == [(81, 80, Protocol.TCP)]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("80", "ports: expected a list, got 80"),
        ("[{published: 80}]", "ports[0]: target is missing: the port inside the container"),
        ("['8080:80/sctp']", "ports[0]: hafen publishes tcp and udp, not sctp"),
        (
            "[{target: 80, published: 8080, protocol: sctp}]",
            "ports[0].protocol: hafen publishes tcp and udp, not sctp",
        ),
        (
            "[{target: 80, published: 8080, protocol: udp, app_protocol: http}]",
            (
                "ports[0].app_protocol: protocol is udp, so nobody can look for http in it; leave "
                "it out"
            ),
        ),
        (
            "[{target: 80, published: 8080, app_protocol: udp}]",
            'ports[0].app_protocol: expected http or tcp, got "udp"',
        ),
        (
            "[{target: 80, published: 8080, mode: hosts}]",
            'ports[0].mode: expected ingress or host, got "hosts"',
        ),
        (
            "['127.0.0.1:8080:80']",
            f"ports[0]: {meant_for('127.0.0.1')}",
        ),
        (
            "['[::1]:8080:80']",
            f"ports[0]: {meant_for('::1')}",
        ),
        ("['8080:80:1']", f'ports[0]: {ANY} "8080:80", got "8080:80:1"'),
        ("['web']", f'ports[0]: {ANY} "8080:80", got "web"'),
        ("[80.5]", f'ports[0]: {ANY} "8080:80", got 80.5'),
        ("[null]", f'ports[0]: {ANY} "8080:80", got nothing'),
        ("[[80]]", f'ports[0]: {ANY} "8080:80", got a list'),
        (
            "['0:80']",
            "ports[0]: expected ports from 1 to 65535, the smaller first, got 0",
        ),
        (
            "['8080:65536']",
            "ports[0]: expected ports from 1 to 65535, the smaller first, got 65536",
        ),
        (
            "['9-8:9-8']",
            "ports[0]: expected ports from 1 to 65535, the smaller first, got 9-8",
        ),
        ("['1-3:4-5']", "ports[0]: 3 published ports cannot lead to 2 in the container"),
        ("['8000-8010:80']", "ports[0]: 11 published ports cannot lead to 1 in the container"),
        (
            "['1000-1200:1000-1200']",
            f"ports[0]: publishes 201 ports; {PORTS_MAX} are the most",
        ),
        (
            "['1000-1099:1-100', '2000-2099:1-100']",
            f"ports: publishes 200 ports; {PORTS_MAX} are the most",
        ),
        ("['2379:80']", "ports[0]: hafen itself listens on port 2379; publish another"),
        ("['8469-8471:1-3']", "ports[0]: hafen itself listens on port 8470; publish another"),
        (
            "[{target: 1, published: 2379}]",
            "ports[0]: hafen itself listens on port 2379; publish another",
        ),
        (
            "[{target: 80, published: 8080-8090}]",
            'ports[0].published: a range of ports needs the short form, as in "8000-8010:80-90"',
        ),
        (
            "[{target: 80, published: 99999}]",
            "ports[0].published: expected a whole number from 1 to 65535, got 99999",
        ),
        (
            "[{target: web, published: 8080}]",
            'ports[0].target: expected a whole number, got "web"',
        ),
        (
            "[{target: 80, published: 8080, app_protocol: grpc}]",
            'ports[0].app_protocol: expected http or tcp, got "grpc"',
        ),
        (
            "[{target: 80, published: 8080, host_ip: 127.0.0.1}]",
            f"ports[0].host_ip: {meant_for('127.0.0.1')}",
        ),
        (
            "[{target: 80, publised: 8080}]",
            "ports[0].publised: hafen does not know this key yet; did you mean published?",
        ),
    ],
)
def test_what_a_gateway_cannot_publish(value: str, why: str) -> None:
    assert web_problems(f"ports: {value}") == [why]


def test_a_port_is_published_once_and_the_problem_names_both_lines() -> None:
    text = """
    services:
      web:
        image: app
        ports:
          - 8080:80
      db:
        image: pg
        ports:
          - 8079-8081:1-3
          - 8081:9
    """
    assert problems(text) == [
        "a.yaml:10: services.db.ports[0]: port 8080 is published in a.yaml:6 too",
        "a.yaml:11: services.db.ports[1]: port 8081 is published in a.yaml:10 too",
    ]


def test_udp_has_numbers_of_its_own() -> None:
    text = """
    services:
      web: {image: app, ports: ["53:53", "53:53/udp"]}
      db:
        image: pg
        ports:
          - "52-53:1-2/udp"
          - {target: 9, published: 53, mode: host}
    """
    assert problems(text) == [
        "a.yaml:7: services.db.ports[0]: port 53/udp is published in a.yaml:3 too",
        "a.yaml:8: services.db.ports[1]: port 53 is published in a.yaml:3 too",
    ]


def test_services_may_have_the_same_port_of_different_nodes() -> None:
    host = "{target: 1, published: 80, mode: host}"
    text = f"""
    services:
      a: {{image: a, ports: [{host}]}}
      b: {{image: b, ports: [{host}]}}
    """
    services(text)
    assert problems(text.replace(f"b, ports: [{host}", f"b, ports: [{host}, {host}")) == [
        "a.yaml:4: services.b.ports[1]: port 80 is published in a.yaml:4 too"
    ]
    assert problems(text.replace(f"b, ports: [{host}", "b, ports: ['80:1'")) == [
        "a.yaml:4: services.b.ports[0]: port 80 is published in a.yaml:3 too"
    ]
