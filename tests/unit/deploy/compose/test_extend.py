"""`extends`: a service that begins as another one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.compose.extend import DEPTH_MAX
from tests.unit.deploy.compose.given import problems, problems_beside, understood


def test_what_stands_beside_it_is_merged_over_the_other_service() -> None:
    text = """
    services:
      base: {image: app:1, environment: {A: 1, B: 1}, command: [a, b], cap_add: [CHOWN]}
      web:
        extends: {service: base}
        environment: [B=2, C=3]
        command: [c]
        cap_add: [CHOWN, NET_ADMIN]
      short: {extends: base}
    """
    base, web, short = understood(text).decoded.services
    assert web.workload.image == "app:1"
    assert web.workload.environment == {"A": "1", "B": "2", "C": "3"}
    assert web.workload.command == ("c",)
    assert web.workload.security.cap_add == ("CHOWN", "NET_ADMIN")
    assert short.workload == base.workload


def test_paths_of_another_file_begin_at_its_folder() -> None:
    beside = {
        "lib/base.yaml": """
            services:
              base:
                image: app:${TAG}
                env_file: base.env
                volumes: [./data:/data, {type: bind, source: ../up, target: /up}]
                build: {context: src}
                extends: {file: deep/root.yaml, service: root}
            """,
        "lib/base.env": "A=1\n",
        "lib/deep/root.yaml": "services: {root: {volumes: ['./x:/x'], labels: {root: '1'}}}",
    }
    text = "services: {web: {extends: {file: lib/base.yaml, service: base}, volumes: ['./w:/w']}}"
    found = understood(text, beside=beside, variables={"TAG": "7"})
    (web,) = found.decoded.services
    assert web.workload.image == "app:7"
    assert web.workload.environment == {"A": "1"}
    assert web.workload.labels == {"root": "1"}
    assert {mount.target: mount.source for mount in web.workload.mounts} == {
        "/x": "/shop/lib/deep/x",
        "/data": "/shop/lib/data",
        "/up": "/shop/up",
        "/w": "/shop/w",
    }
    assert found.decoded.builds[0].context == "/shop/lib/src"


def test_tags_take_away_and_replace_what_is_extended() -> None:
    beside = {
        "base.yaml": """
            services:
              base: {image: a, ports: ["80:80"], labels: {a: "1"}, environment: {A: "1"}}
            """
    }
    text = """
    services:
      web:
        extends: {file: base.yaml, service: base}
        ports: !override ["82:82"]
        labels: !reset {}
        environment: {A: !reset null, B: "2"}
    """
    (web,) = understood(text, beside=beside).decoded.services
    assert [port.published for port in web.workload.ports] == [82]
    assert (web.workload.labels, web.workload.environment) == ({}, {"B": "2"})


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("extends: web", "extends: these extend each other: web -> web"),
        ("extends: none", 'extends: there is no service "none" to extend'),
        ("extends: {}", "extends: service is missing: which one to extend"),
        ("extends: 5", "extends: expected text, got 5; put it in quotes"),
        ("extends: [a]", "extends: expected a mapping, got a list"),
        (
            "extends: {service: a, file: no.yaml}",
            'extends.file: cannot read "no.yaml": no such file or directory',
        ),
        (
            "extends: {service: a, file: empty.yaml}",
            "extends.file: there are no services in this file",
        ),
        (
            "extends: {service: back, file: back.yaml}",
            'extends: there is no service "back" to extend',
        ),
    ],
)
def test_what_cannot_be_extended_is_said_where_it_stands(body: str, why: str) -> None:
    beside = {"empty.yaml": "name: a", "back.yaml": "services: {}"}
    text = f"services:\n  web: {{image: a, {body}}}\n  other: {{image: a, extends: web}}\n"
    assert problems_beside(beside, text) == [f"a.yaml:2: services.web.{why}"]


def test_a_circle_through_files_is_refused() -> None:
    beside = {"b.yaml": "services: {b: {extends: {file: a.yaml, service: web}}}"}
    text = "services: {web: {image: a, extends: {file: b.yaml, service: b}}}"
    assert problems_beside({**beside, "a.yaml": text}, text)[0].endswith(
        "these extend each other: web -> b -> web"
    )


@given(st.integers(1, DEPTH_MAX + 5))
def test_a_chain_has_an_end(length: int) -> None:
    links = "".join(f"  s{n}: {{extends: s{n + 1}}}\n" for n in range(length))
    text = f"services:\n{links}  s{length}: {{image: app}}\n"
    if length <= DEPTH_MAX:
        assert {spec.workload.image for spec in understood(text).decoded.services} == {"app"}
    else:
        assert f"more than {DEPTH_MAX} services extend one another" in "\n".join(problems(text))
