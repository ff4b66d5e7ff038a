"""skopeo's last words in other words."""

import pytest

from node_agent.oci.reference import Reference
from node_agent.oci.registry import explain

NAME = Reference.parse("registry.test:5000/app:1")


def log(message: str) -> str:
    return f'time="2026-01-02T03:04:05Z" level=fatal msg="{message}"\n'


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("reading manifest 1 in x: manifest unknown", "no such image at registry.test:5000"),
        ("reading manifest: name unknown: repository not found", "no such image"),
        ("reading manifest 1: unauthorized: authentication required", "not allowed at"),
        ("requested access to the resource is denied", "not allowed at registry.test:5000"),
        (
            "pinging container registry x: dial tcp 192.0.2.1:443: connect: connection refused",
            "cannot reach registry registry.test:5000",
        ),
        ("pinging container registry x: lookup x: no such host", "cannot reach registry"),
        ("x509: certificate signed by unknown authority", "cannot reach registry"),
    ],
)
def test_the_answer_is_put_in_plain_words(message: str, why: str) -> None:
    text = explain(NAME, log("first") + log(message))

    assert text.startswith(f"registry.test:5000/app:1: {why}")
    assert text.endswith(message)


def test_an_answer_that_nobody_foresaw_is_passed_on_as_it_is() -> None:
    assert explain(NAME, log('a \\"strange\\" end\\nof it')) == (
        'registry.test:5000/app:1: a "strange" end of it'
    )


def test_silence_is_said_to_be_silence() -> None:
    assert explain(NAME, "") == "registry.test:5000/app:1: no answer"


def test_a_long_answer_is_cut_to_one_short_line() -> None:
    text = explain(NAME, log("x" * 5000 + "\\nthe end"))

    assert len(text) < 400
    assert text.endswith("the end")
