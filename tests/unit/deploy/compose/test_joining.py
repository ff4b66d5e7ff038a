"""Who is on which network under which names, and fixed addresses."""

import pytest

from shared.model import Joined, Network
from tests.unit.deploy.compose.given import (
    problems,
    services,
    understood,
    web_problems,
    web_warnings,
    workload,
)

ON_ITS_OWN = (Joined(network="shop_default"),)


def on(text: str, service: str) -> dict[str, tuple[str, ...]]:
    """Return the aliases of a service, by network."""
    found = services(text)[service].workload.networks
    return {one.network: one.aliases for one in found}


def test_services_that_name_no_network_are_on_the_stacks_own() -> None:
    found = understood("services: {a: {image: a}, b: {image: b, networks: []}}").decoded
    assert [spec.workload.networks for spec in found.services] == [ON_ITS_OWN, ON_ITS_OWN]
    assert found.networks == (Network(name="shop_default"),)


@pytest.mark.parametrize(
    ("top", "name", "made"),
    [
        ("{default: {internal: true}}", "shop_default", ["shop_default"]),
        ("{default: {name: other}}", "other", ["other"]),
        ("{default: {external: true, name: given}}", "given", []),
        ("{mine: {name: shop_default, internal: true}}", "shop_default", ["shop_default"]),
    ],
)
def test_the_default_network_is_what_the_file_says(top: str, name: str, made: list[str]) -> None:
    found = understood(f"services: {{a: {{image: a}}}}\nnetworks: {top}\n").decoded
    assert found.services[0].workload.networks == (Joined(network=name),)
    assert [one.name for one in found.networks] == made


def test_only_networks_that_somebody_is_on_are_made() -> None:
    text = """
    services:
      a: {image: a, networks: [used]}
      b: {image: b, networks: [idle], profiles: [b]}
      c: {image: c, network_mode: none}
    networks: {used: , idle: , unused: {internal: true}}
    """
    assert understood(text).decoded.networks == (Network(name="shop_used"),)
    whole = understood(text, profiles=["b"]).decoded
    assert whole.networks == (Network(name="shop_idle"), Network(name="shop_used"))


def test_a_link_is_an_alias_on_the_networks_that_both_are_on() -> None:
    text = """
    services:
      web: {image: a, networks: [front, back], links: ["db:Database", "db", "cache:db2"]}
      db: {image: b, networks: {back: {aliases: [pg]}, deep: }}
      cache: {image: c, networks: [front, back]}
    networks: {front: , back: , deep: }
    """
    assert on(text, "db") == {"shop_back": ("pg", "database"), "shop_deep": ()}
    assert on(text, "cache") == {"shop_front": ("db2",), "shop_back": ("db2",)}
    assert understood(text).warnings == ()
    assert [one.service for one in services(text)["web"].depends_on] == ["db", "cache"]


@pytest.mark.parametrize("other", ["networks: [back]", "network_mode: host", "network_mode: none"])
def test_a_link_needs_a_network_that_both_are_on(other: str) -> None:
    text = f"""
    services:
      web: {{image: a, links: ["db:database"]}}
      db: {{image: b, {other}}}
    networks: {{back: }}
    """
    assert problems(text) == [
        'a.yaml:3: services.web.links[0]: there is no network that "db" is on as well'
    ]


def test_a_links_name_is_a_name() -> None:
    (line,) = web_problems("links: ['db:a b']")
    assert line.startswith('links[0]: "a b" is no name in DNS')


def test_the_name_of_the_only_container_is_an_alias() -> None:
    text = """
    services:
      web: {image: a, container_name: Shop-Web, networks: [front, default]}
      db: {image: b, container_name: db}
    networks: {front: }
    """
    assert on(text, "web") == {"shop_front": ("shop-web",), "shop_default": ("shop-web",)}
    assert on(text, "db") == {"shop_default": ()}
    assert understood(text).warnings == ()


@pytest.mark.parametrize(
    ("deploy", "many"),
    [("{replicas: 2}", "2 containers"), ("{mode: global}", "a container on every node")],
)
def test_one_of_several_containers_has_no_name_of_its_own(deploy: str, many: str) -> None:
    body = f"container_name: x\ndeploy: {deploy}"
    assert workload(body).networks == ON_ITS_OWN
    assert web_warnings(body) == [
        (
            f"container_name: there are {many} of the service, so none is called so; others use "
            "its name"
        )
    ]


def test_the_name_of_a_container_is_a_name() -> None:
    (line,) = web_problems("container_name: a/b")
    assert line.startswith('container_name: "a/b" is no name in DNS')


def test_an_alias_that_is_another_services_name_leads_to_both_and_is_said() -> None:
    text = """
    services:
      web: {image: a, networks: {front: {aliases: [db]}, back: }}
      old: {image: b, container_name: web, links: ["api:web"]}
      api: {image: c}
      db:
        image: d
        container_name: web
        networks: [front, back]
    networks: {front: , back: }
    """
    both = "the name leads to replicas of both"
    assert understood(text).warnings == (
        (
            'compose.yaml:3: services.web.networks.front.aliases: "db" is a service on network '
            f"shop_front, too: {both}, db and web"
        ),
        (
            'compose.yaml:8: services.db.container_name: "web" is a service on network shop_back, '
            f"too: {both}, web and db"
        ),
        (
            'compose.yaml:8: services.db.container_name: "web" is a service on network '
            f"shop_front, too: {both}, web and db"
        ),
    )


# ---------------------------------------------------------------- fixed addresses


def addressed(address: str, more: str = "", top: str = "{subnet: 10.1.0.0/16}") -> str:
    """Return a file with a service that has a fixed address."""
    return f"""
    services:
      web:
        image: app
        networks: {{net: {{ipv4_address: {address}}}}}
        {more}
      other: {{image: b, networks: {{net: {{ipv4_address: 10.1.9.9}}}}}}
    networks: {{net: {{ipam: {{config: [{top}]}}}}}}
    """


@pytest.mark.parametrize("more", ["", "scale: 1", "deploy: {replicas: 0}", "x-hafen: {standby: 1}"])
def test_the_only_container_can_have_an_address(more: str) -> None:
    (found,) = services(addressed("10.1.0.1", more))["web"].workload.networks
    assert found == Joined(network="shop_net", address="10.1.0.1")


ALONE = "only one container can have an address, and the service"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            addressed("10.2.0.1"),
            (
                "5: services.web.networks.net.ipv4_address: 10.2.0.1 is not of the network's "
                "subnet, 10.1.0.0/16"
            ),
        ),
        (
            addressed("10.1.0.0"),
            (
                "5: services.web.networks.net.ipv4_address: 10.1.0.0 is an end of 10.1.0.0/16, "
                "which no container can have"
            ),
        ),
        (
            addressed("10.1.255.255"),
            (
                "5: services.web.networks.net.ipv4_address: 10.1.255.255 is an end of 10.1.0.0/16, "
                "which no container can have"
            ),
        ),
        (
            addressed("10.1.9.9"),
            (
                "7: services.other.networks.net.ipv4_address: 10.1.9.9 is the address of another "
                "service in a.yaml:5"
            ),
        ),
        (
            addressed("10.1.0.1", "deploy: {replicas: 2}"),
            f"5: services.web.networks.net.ipv4_address: {ALONE} has 2 replicas; leave it out",
        ),
        (
            addressed("10.1.0.1", "scale: 2"),
            f"5: services.web.networks.net.ipv4_address: {ALONE} has 2 replicas; leave it out",
        ),
        (
            addressed("10.1.0.1", "deploy: {mode: global}"),
            f"5: services.web.networks.net.ipv4_address: {ALONE} runs on every node; leave it out",
        ),
        (
            addressed("10.1.0.1", "deploy: {update_config: {order: start-first}}"),
            (
                "6: services.web.deploy.update_config.order: the old and the new copy would both "
                "have 10.1.0.1; write stop-first"
            ),
        ),
        (
            addressed("10.1.0.1", "deploy: {rollback_config: {order: start-first}}"),
            (
                "6: services.web.deploy.rollback_config.order: the old and the new copy would both "
                "have 10.1.0.1; write stop-first"
            ),
        ),
    ],
)
def test_what_address_a_service_cannot_have(text: str, line: str) -> None:
    assert problems(text) == [f"a.yaml:{line}"]


def test_an_address_needs_a_subnet() -> None:
    text = "services: {web: {image: a, networks: {default: {ipv4_address: 10.0.0.1}}}}"
    assert problems(text) == [
        (
            'a.yaml:1: services.web.networks.default.ipv4_address: network "default" has no subnet '
            "to take it from; write ipam: {config: [{subnet: ...}]} there, or leave it out"
        )
    ]
    # What a network that is made elsewhere has, the cluster knows.
    elsewhere = understood(f"{text}\nnetworks: {{default: {{external: true, name: x}}}}").decoded
    assert elsewhere.services[0].workload.networks == (Joined(network="x", address="10.0.0.1"),)
