"""`env_file` and `label_file`: what files set for a container."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.deploy.compose.given import problems_beside, understood

FILES = {
    "a.env": "A=1\nB='$A'\nC=\"${A} ${OUT}\"\nOUT=file\nBARE\nexport E=x # note\n",
    "b.env": "A=2\n",
    "raw.env": "A='1'\nB=${A} # kept\n# comment\n\nBARE\n",
}


def environment(body: str, **variables: str) -> dict[str, str]:
    """Return what a service's containers find in their environment."""
    text = f"services: {{web: {{image: a, {body}}}}}"
    found = understood(text, beside=FILES, variables=variables).decoded.services[0]
    return dict(found.workload.environment)


def test_later_files_win_and_the_services_own_words_win_over_all() -> None:
    assert environment("env_file: a.env", OUT="given", BARE="b") == {
        "A": "1",
        "B": "$A",
        "C": "1 given",
        "OUT": "file",
        "BARE": "b",
        "E": "x",
    }
    assert environment("env_file: [a.env, b.env]", OUT="")["A"] == "2"
    assert environment("env_file: [b.env, a.env], environment: {A: 3}", OUT="")["A"] == "3"


def test_a_raw_file_is_taken_as_it_is() -> None:
    body = "env_file: [{path: raw.env, format: raw}]"
    assert environment(body, BARE="b") == {"A": "'1'", "B": "${A} # kept", "BARE": "b"}
    assert "BARE" not in environment(body)


def test_a_file_that_is_not_required_may_be_missing() -> None:
    assert environment("env_file: [{path: no.env, required: false}, b.env]") == {"A": "2"}


def test_a_file_sets_labels_too() -> None:
    text = "services: {web: {image: a, label_file: [a.env, b.env], labels: {E: y}}}"
    labels = understood(text, beside=FILES, variables={"OUT": ""}).decoded.services[0].workload
    assert (labels.labels["A"], labels.labels["E"]) == ("2", "y")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("env_file: no.env", 'env_file: cannot read "no.env": no such file or directory'),
        ("env_file: [{required: true}]", "env_file[0]: path is missing"),
        ("env_file: [{path: b.env, format: toml}]", "env_file[0].format: expected raw, or nothing"),
        ("env_file: {path: b.env}", "env_file: expected a list, got a mapping"),
    ],
)
def test_what_cannot_be_read(body: str, why: str) -> None:
    text = f"services: {{web: {{image: a, {body}}}}}"
    (line,) = problems_beside(FILES, text)
    assert line.startswith(f"a.yaml:1: services.web.{why}")


def test_problems_of_a_file_name_its_line_and_no_value() -> None:
    files = {"a.env": "A=1\n'hunter2\nB=${\n"}
    lines = problems_beside(files, "services: {web: {image: a, env_file: a.env}}")
    assert [line.split(": ")[0] for line in lines] == ["a.env:2", "a.env:3"]
    assert "hunter2" not in "\n".join(lines)


NAMES = st.text("ABCDEF", min_size=1, max_size=3)


@given(st.dictionaries(NAMES, st.text("ab '\"$\\#=", max_size=6), max_size=5))
def test_a_raw_file_gives_back_what_was_written(values: dict[str, str]) -> None:
    files = {"a": "".join(f"{name}={value}\n" for name, value in values.items())}
    text = "services: {web: {image: a, env_file: [{path: a, format: raw}]}}"
    found = understood_with(files, text)
    assert found == values


def understood_with(files: dict[str, str], text: str) -> dict[str, str]:
    """Return the environment of the only service."""
    return dict(understood(text, beside=files).decoded.services[0].workload.environment)
