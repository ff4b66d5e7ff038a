"""The .env file beside a Compose file."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.compose.dotenv import parse
from deploy.compose.errors import Problems


def read(text: str, **environment: str) -> dict[str, str]:
    """Return the variables of a file that has no problems."""
    problems = Problems()
    found = parse(text, ".env", environment, problems)
    problems.raise_any()
    return found


def complaints(text: str) -> list[str]:
    """Return what is wrong with a file."""
    problems = Problems()
    parse(text, ".env", {}, problems)
    return str(problems.error()).splitlines()


@pytest.mark.parametrize(
    ("text", "variables"),
    [
        ("", {}),
        ("# only a comment", {}),
        ("A=1\nB=2", {"A": "1", "B": "2"}),
        ("A=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("A='x'\r\nB=\"y\"\r\n", {"A": "x", "B": "y"}),
        ("  export A = 1  \n", {"A": "1"}),
        ("A=\nB=''\n", {"A": "", "B": ""}),
        ("A=a b # comment\nB=a#b\n", {"A": "a b", "B": "a#b"}),
        ("A=#comment\n", {"A": ""}),
        ("A='$X # \\n'  # comment\n", {"A": "$X # \\n"}),
        ('A="a\\n\\t\\"\\$X\\\\ \\q"\n', {"A": 'a\n\t"$X\\ \\q'}),
        ("A='two\nlines'\nB=\"two\nlines\"\n", {"A": "two\nlines", "B": "two\nlines"}),
        ('A=1\nB=${A}2\nC="$B"3\n'.replace('"$B"3', '"${B}3"'), {"A": "1", "B": "12", "C": "123"}),
        ("A=1\nA=2\n", {"A": "2"}),
        ("A=${NO:-d}\n", {"A": "d"}),
        ("a.b=1\n", {"a.b": "1"}),
        ("A=b=c\n", {"A": "b=c"}),
        ("A\nB=1\n", {"B": "1"}),
    ],
)
def test_forms(text: str, variables: dict[str, str]) -> None:
    assert read(text) == variables


def test_the_environment_wins_and_a_bare_name_takes_from_it() -> None:
    assert read("A=file\nB=$A\nC\n", A="given", C="c") == {"A": "given", "B": "given", "C": "c"}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("A=1\n1A=2\n", [".env:2: expected NAME=value"]),
        ("A: secret\n", [".env:1: expected NAME=value"]),
        ("=secret\n", [".env:1: expected NAME=value"]),
        ("A='secret\nB=2\n", [".env:1: the quote after A= is not closed"]),
        ('A="secret" more\n', [".env:1: only a comment may follow the value of A"]),
        (
            "\nA=$NO\nB=$\n",
            [
                ".env:2: A: variable NO is not set; set it or write ${NO:-default}",
                '.env:3: B: "$" is not a variable; write $$ for a dollar sign',
            ],
        ),
    ],
)
def test_what_is_wrong_is_said_without_the_value(text: str, lines: list[str]) -> None:
    assert complaints(text) == lines


QUOTABLE = st.text(alphabet=string.printable)


@given(QUOTABLE)
def test_any_text_survives_double_quotes(value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    escaped = escaped.replace("\r", "\\r")
    assert read(f'A="{escaped}" # comment\n') == {"A": value}


@given(st.text(alphabet="AB=x'\"\\$#{}: \n\t1", max_size=60))
def test_any_file_is_read_to_its_end(text: str) -> None:
    parse(text, ".env", {}, Problems())
