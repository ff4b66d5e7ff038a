"""Several files become one."""

import pytest

from shared.model import Protocol, ServiceSpec
from tests.unit.deploy.compose.given import problems, services, understood

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


def both(first: str, second: str, more: str = "") -> ServiceSpec:
    """Return a service that two files describe."""
    bodies = (f"services:\n  web:\n    image: a\n    {body}\n" for body in (first, second))
    one, other = bodies
    return services(one + more, other)["web"]


VOLUMES = "volumes: {x: , y: }\n"


@pytest.mark.parametrize(
    ("first", "second", "path", "value"),
    [
        ("volumes: ['x:/d', '/e']", "volumes: ['y:/d:ro']", "mounts", [("/e", ""), ("/d", "c_y")]),
        (
            "volumes: ['x:/d']",
            "volumes: [{type: volume, source: y, target: /d}]",
            "mounts",
            [("/d", "c_y")],
        ),
        ("tmpfs: /a", "tmpfs: [/b, /a]", "mounts", [("/b", ""), ("/a", "")]),
    ],
)
def test_what_is_mounted_replaces_what_has_the_same_target(
    first: str, second: str, path: str, value: list[tuple[str, str]]
) -> None:
    found = getattr(both(first, second, VOLUMES).workload, path)
    names = [(mount.target, mount.source.replace("shop_", "c_")) for mount in found]
    assert names == value


def test_lists_get_what_they_do_not_have_yet() -> None:
    found = both("cap_add: [AA, BB]\n    dns: 1.1.1.1", "cap_add: [BB, CC]\n    dns: [2.2.2.2]")
    assert found.workload.security.cap_add == ("AA", "BB", "CC")
    assert found.workload.naming.dns == ("1.1.1.1", "2.2.2.2")


def test_forms_of_what_is_first_are_merged() -> None:
    more = "  db: {image: b}\n  mq: {image: c}\n"
    found = both("depends_on: [db, mq]", "depends_on: {db: {condition: service_healthy}}", more)
    assert [(one.service, str(one.condition)) for one in found.depends_on] == [
        ("db", "service_healthy"),
        ("mq", "service_started"),
    ]


def test_devices_files_and_limits_are_merged_by_what_they_are_called() -> None:
    more = "secrets: {a: {environment: X}, b: {environment: X}}\n"
    first = "devices: ['/dev/a:/dev/x', /dev/y]\n    secrets: [a]\n    ulimits: {nofile: 1, cpu: 2}"
    second = "devices: ['/dev/b:/dev/x']\n    secrets: [{source: b, target: a}]\n"
    second += "    ulimits: {nofile: {soft: 3, hard: 4}}"
    texts = [f"services:\n  web:\n    image: a\n    {body}\n" for body in (first, second)]
    found = services(texts[0] + more, texts[1], X="1")["web"].workload
    assert [device.source for device in found.security.devices] == ["/dev/y", "/dev/b"]
    assert [file.content.split("/")[1] for file in found.files] == ["b"]
    assert [(one.name, one.soft) for one in found.tuning.ulimits] == [("nofile", 3), ("cpu", 2)]


def test_a_port_replaces_the_same_one_only() -> None:
    found = both("ports: ['80:80', '81:81']", "ports: [{target: 80, published: 80}, '82:82']")
    assert [port.published for port in found.workload.ports] == [81, 80, 82]
    udp = both("ports: ['80:80']", "ports: ['80:80/udp']")
    assert [port.protocol for port in udp.workload.ports] == [Protocol.TCP, Protocol.UDP]


@pytest.mark.parametrize(
    ("second", "left"),
    [
        ("labels: !reset {}", {}),
        ("labels: !reset null", {}),
        ("labels: {a: !reset null}", {"b": "2"}),
        ("labels: !override {c: '3'}", {"c": "3"}),
        ("labels: {a: !override x}", {"a": "x", "b": "2"}),
        ("labels: {c: '3'}", {"a": "1", "b": "2", "c": "3"}),
    ],
)
def test_tags_take_away_and_replace(second: str, left: dict[str, str]) -> None:
    assert both("labels: {a: '1', b: '2'}", second).workload.labels == left


def test_a_tag_in_the_only_file_takes_away_what_it_stands_before() -> None:
    found = services("services: {web: {image: a, labels: !reset {a: 1}, command: !override [b]}}")
    assert (found["web"].workload.labels, found["web"].workload.command) == ({}, ("b",))


def test_a_build_of_one_file_gets_what_another_says() -> None:
    texts = ("services: {web: {build: ./a}}", "services: {web: {build: {target: t, args: [X=1]}}}")
    (build,) = understood(*texts).decoded.builds
    assert (build.context, build.target, build.args) == ("/shop/a", "t", {"X": "1"})
