"""What hafen understands below `x-hafen`, and each refusal."""

import pytest

from tests.unit.deploy.compose.given import problems, services, web, web_problems


@pytest.mark.parametrize(
    ("value", "standby", "is_exclusive"),
    [
        ("", 0, False),
        ("{}", 0, False),
        ("{standby: 2}", 2, False),
        ("{standby: $SPARE}", 1, False),
        ("{exclusive: true}", 0, True),
        ("{exclusive: false, standby: 0}", 0, False),
        ("{exclusive: true, standby: 1}", 1, True),
    ],
)
def test_what_is_hafens_own_arrives(value: str, standby: int, *, is_exclusive: bool) -> None:
    found = web(f"x-hafen: {value}", SPARE="1")
    assert (found.standby, found.workload.exclusive) == (standby, is_exclusive)


def test_exclusive_work_may_publish_ports_and_may_be_switched_off() -> None:
    found = web("ports: ['8080:80']\nx-hafen: {exclusive: true}\ndeploy: {replicas: 0}")
    assert (found.workload.exclusive, len(found.workload.ports), found.replicas) == (True, 1, 0)


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (
            "x-hafen: {standbye: 1}",
            "x-hafen.standbye: hafen does not know this key yet; did you mean standby?",
        ),
        ("x-hafen: {x-note: 1, fast: 1}", "x-hafen.fast: hafen does not know this key yet"),
        ("x-hafen: [standby]", "x-hafen: expected a mapping, got a list"),
        (
            "x-hafen: {standby: 101}",
            "x-hafen.standby: expected a whole number from 0 to 100, got 101",
        ),
        ("x-hafen: {standby: -1}", "x-hafen.standby: expected a whole number, got -1"),
        ("x-hafen: {exclusive: yes}", 'x-hafen.exclusive: expected true or false, got "yes"'),
        ("deploy: {x-hafen: {}}", "deploy.x-hafen: hafen does not know this key yet"),
        (
            "x-hafen: {exclusive: true}\ndeploy: {replicas: 2}",
            (
                "x-hafen.exclusive: at most one copy may run, but deploy.replicas is 2; write "
                "replicas: 1, and standby: 1 here for a spare copy"
            ),
        ),
    ],
)
def test_what_is_wrong_below_x_hafen_is_refused_by_name(body: str, line: str) -> None:
    assert web_problems(body) == [line]


def test_later_files_override_x_hafen_key_by_key_and_lines_are_named() -> None:
    first = "services:\n  db:\n    image: app:1\n    x-hafen: {standby: 1}\n"
    second = "services:\n  db:\n    x-hafen:\n      exclusive: true\n"
    found = services(first, second)["db"]
    assert (found.standby, found.workload.exclusive) == (1, True)
    wrong = "services:\n  db:\n    x-hafen:\n      exclusiv: true\n"
    line = "b.yaml:4: services.db.x-hafen.exclusiv: hafen does not know this key yet"
    assert problems(first, wrong) == [f"{line}; did you mean exclusive?"]
