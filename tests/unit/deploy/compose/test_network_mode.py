"""`network_mode`, and what a service's name leads to."""

import pytest

from shared.model import Affinity, EndpointMode, Joined
from tests.unit.deploy.compose.given import services, web, web_problems, web_warnings, workload

ON_ITS_OWN = (Joined(network="shop_default"),)


@pytest.mark.parametrize(
    ("mode", "networks"), [("bridge", ON_ITS_OWN), ("default", ON_ITS_OWN), ("none", ())]
)
def test_a_mode_that_needs_nothing_else(mode: str, networks: tuple[Joined, ...]) -> None:
    found = workload(f"network_mode: {mode}")
    assert found.networks == networks
    assert found.network_mode == ("none" if mode == "none" else "")


def test_in_its_nodes_network_a_container_publishes_nothing() -> None:
    body = "network_mode: host\nports: ['80:80', '53:53/udp']"
    assert workload(body).ports == ()
    assert web_warnings(body) == [
        "ports: with network_mode: host the container's ports are the node's own: none is published"
    ]
    # Another service may publish what this one does not.
    services("services: {a: {image: a, network_mode: host, ports: ['80:80']}, b: {image: b, "
             "ports: ['80:80']}}")  # fmt: skip


@pytest.mark.parametrize("mode", ["host", "none"])
@pytest.mark.parametrize(
    ("body", "path"),
    [
        ("container_name: x", "container_name"),
        ("deploy: {endpoint_mode: dnsrr}", "deploy.endpoint_mode"),
        ("x-hafen: {affinity: address}", "x-hafen.affinity"),
    ],
)
def test_off_all_networks_a_service_has_no_name(mode: str, body: str, path: str) -> None:
    assert web_warnings(f"network_mode: {mode}\n{body}") == [
        (
            f"{path}: with network_mode: {mode} the service is on no network, and has no name "
            "there that could lead to it"
        )
    ]


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            "network_mode: host\nnetworks: [default]",
            "network_mode: `networks` says where the service is; keep one of them",
        ),
        (
            "network_mode: bridge\nnetworks: [default]",
            "network_mode: `networks` says where the service is; keep one of them",
        ),
        (
            "network_mode: none\nports: ['80:80']",
            (
                "ports: with network_mode: none nothing reaches the container, so nothing can be "
                "published; leave one of them out"
            ),
        ),
        (
            "network_mode: host\nsysctls: {net.core.somaxconn: 1}",
            (
                "sysctls.net.core.somaxconn: with network_mode: host net.core.somaxconn is the "
                "node's own; set it there"
            ),
        ),
        (
            "network_mode: host\nsysctls: [net.core.somaxconn=1]",
            "sysctls: with network_mode: host net.core.somaxconn is the node's own; set it there",
        ),
        (
            "network_mode: service:db",
            (
                'network_mode: "service:db": containers of a cluster may be on different nodes, so '
                "none shares another's network; put it and service db on one of `networks`, and "
                "use the name there"
            ),
        ),
        (
            "network_mode: container:x",
            (
                'network_mode: "container:x": containers of a cluster may be on different nodes, '
                "so none shares another's network; put it and what it is to reach on one of "
                "`networks`, and use the name there"
            ),
        ),
        (
            "network_mode: front",
            (
                'network_mode: "front": write bridge, host or none; for a network of the file, '
                "networks: [NAME]"
            ),
        ),
        ("network_mode: ", "network_mode: expected text, got nothing"),
    ],
)
def test_what_a_mode_cannot_be_together_with(body: str, why: str) -> None:
    (line,) = web_problems(body)
    assert line.replace('"net.core.somaxconn"', "net.core.somaxconn") == why


def test_in_its_nodes_network_other_sysctls_are_fine() -> None:
    assert workload("network_mode: host\nsysctls: {kernel.shmmax: 5}").tuning.sysctls


@pytest.mark.parametrize("mode", list(EndpointMode))
def test_what_a_name_leads_to(mode: EndpointMode) -> None:
    assert web(f"deploy: {{endpoint_mode: {mode}}}").endpoint_mode is mode


def test_a_name_leads_to_one_address_and_no_client_stays_unless_it_is_said() -> None:
    assert web("").endpoint_mode is EndpointMode.VIP
    assert web("").affinity is Affinity.NONE


@pytest.mark.parametrize("affinity", list(Affinity))
def test_whether_a_client_stays(affinity: Affinity) -> None:
    assert web(f"x-hafen: {{affinity: {affinity}}}").affinity is affinity


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            "deploy: {endpoint_mode: lvs}",
            'deploy.endpoint_mode: expected vip or dnsrr, got "lvs"',
        ),
        (
            "x-hafen: {affinity: ClientIP}",
            'x-hafen.affinity: "ClientIP": hafen\'s word for it is address',
        ),
        (
            "x-hafen: {affinity: often}",
            'x-hafen.affinity: expected none or address, got "often"',
        ),
    ],
)
def test_what_a_name_cannot_lead_to(body: str, why: str) -> None:
    assert web_problems(body) == [why]
