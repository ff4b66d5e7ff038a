"""The top of the file, and problems together."""

import json

import pytest

from deploy.compose.decode import SERVICES_MAX
from deploy.compose.errors import PROBLEMS_MAX
from tests.unit.deploy.compose.given import problems, services, understood


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: a", "a.yaml:1: services is missing"),
        ("services: {}", "a.yaml:1: services: there is no service here"),
        ("services:", "a.yaml:1: services: expected services by name, got nothing"),
        ("services: [web]", "a.yaml:1: services: expected services by name, got a list"),
        ("services: {web: }", "a.yaml:1: services.web: expected a mapping, got nothing"),
        ("services: {web: {}}", "a.yaml:1: services.web: image is missing"),
        (
            "services: {Web: {image: a}}",
            (
                'a.yaml:1: services.Web: "Web" cannot name a service: use at most 40 of a-z, 0-9, '
                "- and _, beginning with a letter or a digit, and not ending with -"
            ),
        ),
        (
            "name: My Shop\nservices: {web: {image: a}}",
            (
                'a.yaml:1: name: "My Shop" cannot name a stack: use at most 40 of a-z, 0-9, '
                "- and _, beginning with a letter or a digit, and not ending with -"
            ),
        ),
        (
            "services: {web: {image: a}}\nvolumes: []",
            "a.yaml:2: volumes: expected a mapping, got a list",
        ),
        (
            "service: {}\nservices: {web: {image: a}}",
            "a.yaml:1: service: hafen does not know this key yet; did you mean services?",
        ),
    ],
)
def test_the_top_of_a_file(text: str, line: str) -> None:
    assert problems(text) == [line]


def test_several_problems_come_together_in_the_order_of_the_lines() -> None:
    text = """
    services:
      web:
        image: app:${TAG}
        volumes: [a]
        deploy:
          replicas: three
      db:
        imgae: pg
    """
    assert problems(text) == [
        "a.yaml:4: services.web.image: variable TAG is not set; set it or write ${TAG:-default}",
        'a.yaml:5: services.web.volumes[0]: expected an absolute path in the container, got "a"',
        'a.yaml:7: services.web.deploy.replicas: expected a whole number, got "three"',
        "a.yaml:8: services.db: image is missing",
        "a.yaml:9: services.db.imgae: hafen does not know this key yet; did you mean image?",
    ]


def test_problems_in_one_line_come_in_the_order_of_the_list() -> None:
    lines = problems(f"services: {{web: {{image: a, command: [{', '.join('0' * 11)}]}}}}")
    places = [line.split(":")[2].strip() for line in lines]
    assert places == [f"services.web.command[{n}]" for n in range(11)]


def test_so_many_problems_are_shown_and_the_rest_is_counted() -> None:
    keys = "".join(f"k{n:02}: 1\n" for n in range(PROBLEMS_MAX + 3))
    lines = problems("services: {web: {image: a}}\n" + keys)
    assert len(lines) == PROBLEMS_MAX + 1
    assert lines[0] == "a.yaml:2: k00: hafen does not know this key yet"
    assert lines[-1] == "... and 3 more"


def test_the_number_of_services_has_an_end() -> None:
    keys = ", ".join(f"s{n}: {{image: a}}" for n in range(SERVICES_MAX + 1))
    assert problems(f"services: {{{keys}}}") == [
        f"a.yaml:1: services: {SERVICES_MAX + 1} services; {SERVICES_MAX} are the most"
    ]


def test_version_is_accepted_with_a_warning() -> None:
    found = understood("services: {web: {image: a}}\nversion: '3.8'\n")
    assert found.warnings == (
        "compose.yaml:2: version: has no meaning any more; it can be left out",
    )
    assert len(found.decoded.services) == 1


def test_problems_that_aliases_repeat_are_told_with_every_path() -> None:
    text = (
        "x-e: &e {a: [1]}\nservices:\n  web: {image: a, labels: *e}\n  db: {image: a, labels: *e}"
    )
    assert problems(text) == [
        "a.yaml:1: services.db.labels.a: expected text, got a list",
        "a.yaml:1: services.web.labels.a: expected text, got a list",
    ]


def test_odd_keys_and_values_stay_on_one_line() -> None:
    text = json.dumps({"services": {"web": {"image": "a\nb" * 30, "k\n\x1b[1m": 1}}})
    assert problems(text) == [
        (
            "a.yaml:1: services.web.image: expected an image such as "
            'registry.example.com/team/app:1.2, got "a\\nba\\nba\\nba\\nba\\nba\\nba\\nba\\nba\\nba'
            '\\nba\\nba\\nba\\nb\\u2026"'
        ),
        'a.yaml:1: services.web."k\\n\\u001b[1m": hafen does not know this key yet',
    ]


def test_a_message_from_the_file_cannot_move_the_cursor_of_a_terminal() -> None:
    text = json.dumps({"services": {"web": {"image": "${A:?\x1b[2J$B}"}}})
    assert problems(text, B="\x07") == [
        "a.yaml:1: services.web.image: variable A is not set: \\x1b[2J\\x07"
    ]


def test_services_keep_the_order_of_the_file() -> None:
    assert list(services("services: {b: {image: x}, a: {image: y}}")) == ["b", "a"]
