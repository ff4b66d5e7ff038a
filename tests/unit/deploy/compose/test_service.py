"""What hafen understands of a service, value by value, and each refusal."""

import pytest

from shared.model import (
    Constraint,
    HealthCheck,
    Joined,
    Placement,
    Resources,
    ServiceName,
    ServiceSpec,
    Workload,
)
from tests.unit.deploy.compose.given import problems, services, web, web_problems, workload

# What a service is on that says nothing of networks.
OWN = (Joined(network="shop_default"),)


def test_a_service_with_nothing_but_an_image_has_the_defaults_of_compose() -> None:
    assert services("services: {web: {image: app}}") == {
        "web": ServiceSpec(
            name=ServiceName("web"), workload=Workload(image="app", networks=OWN), replicas=1
        )
    }


def test_what_a_container_is_arrives() -> None:
    found = workload(
        """
        command: serve --port 80
        entrypoint: [/init]
        environment: {A: b}
        labels: [team=shop]
        healthcheck:
          test: [CMD, check, it]
          interval: 5s
          timeout: 1s
          retries: 2
          start_period: 1m
          start_interval: 500ms
        stop_grace_period: 1m30s
        x-note: {anything: at all}
        """
    )
    assert found == Workload(
        image="app:1",
        command=("serve", "--port", "80"),
        entrypoint=("/init",),
        environment={"A": "b"},
        labels={"team": "shop"},
        healthcheck=HealthCheck(
            test=("check", "it"),
            interval_s=5.0,
            timeout_s=1.0,
            retries=2,
            start_period_s=60.0,
            start_interval_s=0.5,
        ),
        stop_grace_period_s=90.0,
        networks=OWN,
    )


def test_how_many_run_where_and_with_what_arrives() -> None:
    found = web(
        """
        deploy:
          replicas: 4
          resources:
            limits: {cpus: "1.5", memory: 1gb, pids: 100}
            reservations: {cpus: 0.25, memory: 64M}
          placement:
            constraints: [node.labels.zone==a, "node.hostname != n 1", node.id == n2]
            preferences: [{spread: node.labels.zone}, {spread: node.labels.rack}]
            max_replicas_per_node: 2
        """
    )
    assert found.replicas == 4
    assert found.workload.limits == Resources(cpu_millis=1500, memory_bytes=1 << 30, pids=100)
    assert found.workload.reservations == Resources(cpu_millis=250, memory_bytes=64 << 20)
    assert found.placement == Placement(
        constraints=(
            Constraint(key="node.labels.zone", value="a"),
            Constraint(key="node.hostname", value="n 1", equal=False),
            Constraint(key="node.id", value="n2"),
        ),
        spread=("node.labels.zone", "node.labels.rack"),
        max_replicas_per_node=2,
    )


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", None),
        ("[]", ()),
        ("''", ()),
        ("sh -c 'echo \"a  b\"' x\\ y", ("sh", "-c", 'echo "a  b"', "x y")),
        ("[sh, -c, 'a b']", ("sh", "-c", "a b")),
        ("echo $$HOME", ("echo", "$HOME")),
        ("a # no comment for a shell", ("a",)),
    ],
)
def test_forms_of_a_command(value: str, words: tuple[str, ...] | None) -> None:
    assert workload(f"command: {value}").command == words
    assert workload(f"entrypoint: {value}").entrypoint == words


@pytest.mark.parametrize(
    ("value", "variables"),
    [
        ("", {}),
        ("[]", {}),
        ("[A=1, 'B=', 'C=a=b', 'D= x ']", {"A": "1", "B": "", "C": "a=b", "D": " x "}),
        (
            "{A: 1, B: -1.5, C: true, D: '', E: yes, F: 0}",
            {
                "A": "1",
                "B": "-1.5",
                "C": "true",
                "D": "",
                "E": "yes",
                "F": "0",
            },
        ),
        ("{GIVEN: , MISSING: }", {"GIVEN": "from outside"}),
        ("[GIVEN, MISSING]", {"GIVEN": "from outside"}),
        ("['GIVEN=$GIVEN!']", {"GIVEN": "from outside!"}),
    ],
)
def test_forms_of_the_environment(value: str, variables: dict[str, str]) -> None:
    assert workload(f"environment: {value}", GIVEN="from outside").environment == variables


@pytest.mark.parametrize(
    ("value", "labels"),
    [
        ("[a=1, b]", {"a": "1", "b": ""}),
        ("{a: 1, b: }", {"a": "1", "b": ""}),
        ("{com.example/x: y}", {"com.example/x": "y"}),
    ],
)
def test_forms_of_labels(value: str, labels: dict[str, str]) -> None:
    assert workload(f"labels: {value}", b="not this").labels == labels


@pytest.mark.parametrize(
    ("value", "test"),
    [
        ("{test: [CMD, a, 'b c']}", ("a", "b c")),
        ("{test: [CMD-SHELL, 'a | b']}", ("/bin/sh", "-c", "a | b")),
        ("{test: a | b}", ("/bin/sh", "-c", "a | b")),
        ("{test: a, disable: false}", ("/bin/sh", "-c", "a")),
    ],
)
def test_forms_of_a_health_check(value: str, test: tuple[str, ...]) -> None:
    assert workload(f"healthcheck: {value}").healthcheck == HealthCheck(test=test)


@pytest.mark.parametrize("value", ["{disable: true}", "{test: [NONE]}", "{disable: 'true'}"])
def test_a_health_check_can_be_switched_off(value: str) -> None:
    assert workload(f"healthcheck: {value}").healthcheck is None


@pytest.mark.parametrize(
    "image",
    [
        "app",
        "app:1.2",
        "team/app",
        "registry.example.com/team/app:v1",
        "registry.example.com:5000/app",
        "localhost/app",
        "Registry.Example.COM/app",
        "a__b/c--d.e",
        "app@sha256:" + "0a" * 32,
        "app:1@sha256:" + "0a" * 32,
        "'[::1]:5000/app'",
    ],
)
def test_images(image: str) -> None:
    text = f"services: {{web: {{image: {image!s}}}}}" if image[0] == "'" else None
    found = services(text or f"services:\n  web:\n    image: {image}\n")["web"]
    assert found.workload.image == image.strip("'")


@pytest.mark.parametrize("image", ["App", "app:", "a b", "/app", "app@sha256:12", "http://x/y"])
def test_what_is_no_image(image: str) -> None:
    expected = f'expected an image such as registry.example.com/team/app:1.2, got "{image}"'
    assert problems(f"services: {{web: {{image: '{image}'}}}}") == [
        f"a.yaml:1: services.web.image: {expected}"
    ]


NUMBER = "a whole number"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("volumes: a", 'volumes: expected a list, got "a"'),
        ("lables: []", "lables: hafen does not know this key yet; did you mean labels?"),
        ("scale: two", f'scale: expected {NUMBER}, got "two"'),
        ("a key: 1", '"a key": hafen does not know this key yet'),
        ("command: 5", "command: expected text, got 5; put it in quotes"),
        ("command: [a, 5]", "command[1]: expected text, got 5; put it in quotes"),
        ("command: {a: b}", "command: expected text, got a mapping"),
        ("command: a 'b", "command: cannot be split into words: no closing quotation"),
        (
            'command: "a\\0b"',
            "command: holds a NUL or half of a character; no program could be given this",
        ),
        ("entrypoint: [null]", "entrypoint[0]: expected text, got nothing"),
        (
            "environment: text",
            'environment: expected a mapping or a list of NAME=value, got "text"',
        ),
        (
            "environment: {A: 3.10}",
            "environment.A: YAML reads 3.10 as a number or a truth value; put it in quotes",
        ),
        (
            "environment: {A: True}",
            "environment.A: YAML reads True as a number or a truth value; put it in quotes",
        ),
        (
            "environment: {A: 0x1F}",
            "environment.A: YAML reads 0x1F as a number or a truth value; put it in quotes",
        ),
        ("environment: {A: [1]}", "environment.A: expected text, got a list"),
        ("environment: {'': 1}", 'environment."": a name cannot be empty or hold = or NUL'),
        ("environment: {a=b: 1}", 'environment."a=b": a name cannot be empty or hold = or NUL'),
        ("environment: [A: b]", "environment[0]: expected NAME=value, got a mapping"),
        ("environment: [=b]", "environment[0]: expected NAME=value, got no name"),
        ("environment: [A=1, A]", 'environment[1]: "A" is in line 4 already'),
        ("labels: [a=1, a=1]", 'labels[1]: "a" is in line 4 already'),
        (
            "stop_grace_period: 10",
            "stop_grace_period: expected a duration such as 10s or 1m30s, got 10",
        ),
        (
            "stop_grace_period: soon",
            'stop_grace_period: expected a duration such as 10s or 1m30s, got "soon"',
        ),
        ("healthcheck: a", 'healthcheck: expected a mapping, got "a"'),
        (
            "healthcheck: {interval: 5s}",
            "healthcheck: test is missing; hafen does not read the image's own health check yet",
        ),
        (
            "healthcheck: {test: []}",
            "healthcheck: test is missing; hafen does not read the image's own health check yet",
        ),
        (
            "healthcheck: {test: [CMD]}",
            (
                'healthcheck.test: expected ["CMD", program, argument ...], '
                '["CMD-SHELL", line] or ["NONE"]'
            ),
        ),
        (
            "healthcheck: {test: a, disable: true}",
            "healthcheck: disable and test contradict each other; keep one",
        ),
        (
            "healthcheck: {disable: maybe}",
            'healthcheck.disable: expected true or false, got "maybe"',
        ),
        (
            "healthcheck: {test: a, interval: 0s}",
            'healthcheck.interval: expected more than 0s, got "0s"',
        ),
        (
            "healthcheck: {test: a, retries: 0}",
            "healthcheck.retries: expected a whole number from 1 to 1000, got 0",
        ),
        ("deploy: [a]", "deploy: expected a mapping, got a list"),
        ("deploy: {update_config: 1}", "deploy.update_config: expected a mapping, got 1"),
        ("deploy: {replicas: three}", f'deploy.replicas: expected {NUMBER}, got "three"'),
        ("deploy: {replicas: -1}", f"deploy.replicas: expected {NUMBER}, got -1"),
        ("deploy: {replicas: 1.5}", f"deploy.replicas: expected {NUMBER}, got 1.5"),
        ("deploy: {replicas: true}", f"deploy.replicas: expected {NUMBER}, got true"),
        (
            "deploy: {replicas: 99999}",
            f"deploy.replicas: expected {NUMBER} from 0 to 1000, got 99999",
        ),
        (
            "deploy: {resources: {limits: {cpus: lots}}}",
            'deploy.resources.limits.cpus: expected a number of CPUs such as 0.5, got "lots"',
        ),
        (
            "deploy: {resources: {limits: {memory: 64}}}",
            (
                "deploy.resources.limits.memory: "
                "64 bytes are too few to start a container; is the unit missing?"
            ),
        ),
        (
            "deploy: {resources: {limits: {memory: 64X}}}",
            'deploy.resources.limits.memory: expected a size such as 64M or 1gb, got "64X"',
        ),
        (
            "deploy: {resources: {limits: {pids: many}}}",
            'deploy.resources.limits.pids: expected a whole number from -1 to 4194304, got "many"',
        ),
        (
            "deploy: {resources: {reservations: {pids: 1}}}",
            "deploy.resources.reservations.pids: hafen does not know this key yet",
        ),
        (
            "deploy: {resources: {limits: {cpus: 1}, reservations: {cpus: 2}}}",
            "deploy.resources.reservations.cpus: reserves more than limits.cpus allows",
        ),
        (
            "deploy: {resources: {limits: {memory: 8M}, reservations: {memory: 9M}}}",
            "deploy.resources.reservations.memory: reserves more than limits.memory allows",
        ),
        (
            "deploy: {placement: {constraints: [node.role == manager]}}",
            (
                "deploy.placement.constraints[0]: hafen's nodes have no roles; give some of them a "
                "label and use node.labels.NAME"
            ),
        ),
        (
            "deploy: {placement: {constraints: [zone]}}",
            (
                "deploy.placement.constraints[0]: "
                'expected a constraint such as "node.labels.zone == a", got "zone"'
            ),
        ),
        (
            "deploy: {placement: {constraints: [node.id ==]}}",
            (
                "deploy.placement.constraints[0]: "
                'expected a constraint such as "node.labels.zone == a", got "node.id =="'
            ),
        ),
        (
            "deploy: {placement: {preferences: [{spread: zone}]}}",
            'deploy.placement.preferences[0].spread: expected node.labels.NAME, got "zone"',
        ),
        (
            "deploy: {placement: {preferences: [{}]}}",
            "deploy.placement.preferences[0]: expected spread: node.labels.NAME, got a mapping",
        ),
        (
            "deploy: {placement: {max_replicas_per_node: -1}}",
            f"deploy.placement.max_replicas_per_node: expected {NUMBER}, got -1",
        ),
    ],
)
def test_each_refusal_is_one_line_that_says_what_to_do(body: str, why: str) -> None:
    assert web_problems(body) == [why]


def test_a_reservation_without_a_limit_and_no_reservation_are_fine() -> None:
    limits = "deploy: {resources: {limits: {cpus: 1, memory: 0, pids: 0}}}"
    assert workload(limits).reservations == Resources()
    reservations = "deploy: {resources: {reservations: {cpus: 2, memory: 1}}}"
    assert workload(reservations).reservations == Resources(cpu_millis=2000, memory_bytes=1)


def test_extensions_are_ignored_wherever_compose_allows_them() -> None:
    found = services(
        """
        x-top: &common {image: app}
        services:
          web:
            <<: *common
            x-a: 1
            healthcheck: {test: a, x-b: 1}
            deploy:
              x-c: 1
              resources: {x-d: 1, limits: {x-e: 1}}
              placement: {x-f: 1, preferences: [{spread: node.labels.a, x-g: 1}]}
        """
    )
    assert found["web"].workload.image == "app"
