"""Several files become one."""

from tests.unit.deploy.compose.given import problems, services

BASE = """
services:
  web:
    image: app:1
    command: [a, b]
    environment: [A=1, B=2]
    labels: {x: "1"}
    ports: ["8080:80", "8081:81"]
    healthcheck: {test: [CMD, old], retries: 7}
    deploy:
      replicas: 2
      placement:
        constraints: [node.labels.zone == a]
"""


def test_a_later_file_adds_and_overrides_by_the_rules_of_compose() -> None:
    later = """
    services:
      web:
        image: app:2
        command: [c]
        environment: {B: "3", C: "4"}
        labels: ["y=2"]
        ports: ["8081:81/tcp", "8082:82"]
        healthcheck: {test: [CMD, new]}
        deploy:
          placement:
            constraints: [node.hostname != n1]
      db:
        image: pg
    """
    found = services(BASE, later)
    web = found["web"]

    assert list(found) == ["web", "db"]
    assert web.workload.image == "app:2"
    assert web.workload.command == ("c",)
    assert web.workload.environment == {"A": "1", "B": "3", "C": "4"}
    assert web.workload.labels == {"x": "1", "y": "2"}
    assert [port.published for port in web.workload.ports] == [8080, 8081, 8082]
    assert web.workload.healthcheck is not None
    assert (web.workload.healthcheck.test, web.workload.healthcheck.retries) == (("new",), 7)
    assert web.replicas == 2
    assert [c.key for c in web.placement.constraints] == ["node.labels.zone", "node.hostname"]


def test_the_long_form_of_a_port_replaces_the_short_one() -> None:
    later = """
    services:
      web:
        ports: [{published: 8080, target: 80, app_protocol: http}]
    """
    found = services(BASE, later)["web"].workload.ports
    assert [(port.published, port.protocol) for port in found] == [(8081, "tcp"), (8080, "http")]


def test_nothing_changes_nothing() -> None:
    later = "services: {web: {environment: , ports: , deploy: }}"
    assert services(BASE, later) == services(BASE)


def test_a_bare_name_in_a_list_still_takes_its_value_from_outside() -> None:
    later = "services: {web: {environment: [B, NO]}}"
    assert services(BASE, later, B="given")["web"].workload.environment == {"A": "1", "B": "given"}


def test_problems_name_the_file_they_are_in() -> None:
    first = "services:\n  web:\n    image: 5\n    environment: [A=1, A=2, 7, $NO]\n"
    second = "services:\n  web:\n    labels: {a: 1}\n    volumes: x\n    ports: x\n"
    third = "services:\n  web:\n    environment: {B: 1}\n    ports: []\n    labels: 3\n"
    assert problems(first, second, third) == [
        "a.yaml:3: services.web.image: expected text, got 5; put it in quotes",
        'a.yaml:4: services.web.environment[1]: "A" is in line 4 already',
        "a.yaml:4: services.web.environment[2]: expected NAME=value, got 7",
        (
            "a.yaml:4: services.web.environment[3]: variable NO is not set; "
            "set it or write ${NO:-default}"
        ),
        'b.yaml:4: services.web.volumes: expected a list, got "x"',
        "c.yaml:5: services.web.labels: 3 cannot replace a mapping from b.yaml:3",
    ]


def test_a_port_published_twice_names_both_files() -> None:
    later = "services: {db: {image: pg, ports: ['8080:5432']}}"
    assert problems(BASE, later) == [
        "b.yaml:1: services.db.ports[0]: port 8080 is published in a.yaml:8 too"
    ]
