"""What is written as YAML is read again as the same."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.compose.errors import Problems
from deploy.compose.read import parse
from deploy.compose.tree import Entry, Kind, Mapping, Mark, Node, Scalar, Sequence
from deploy.compose.write import jsonable, yaml

HERE = Mark(0, 1, "a")
# What YAML takes nowhere, not even as an escape: halves of characters.
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8) | st.sampled_from(
    ["", "yes", "null", "~", "1", "1.5", "0x1F", "a: b", "a #b", "- a", "---", "a:", "<<", " a "]
)
SCALARS = st.one_of(
    TEXTS.map(lambda text: Scalar(HERE, Kind.TEXT, text)),
    st.integers().map(lambda number: Scalar(HERE, Kind.INT, str(number))),
    st.sampled_from([Scalar(HERE, Kind.NULL, ""), Scalar(HERE, Kind.BOOL, "true")]),
)


def mapping(entries: dict[str, Node]) -> Mapping:
    """Return a mapping."""
    return Mapping(HERE, tuple(Entry(HERE, key, value) for key, value in entries.items()))


TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: Sequence(HERE, tuple(items)))
        | st.dictionaries(TEXTS, inner, max_size=3).map(mapping)
    ),
    max_leaves=8,
)


def told(node: Node) -> object:
    """Return a tree without its places."""
    match node:
        case Scalar(kind=Kind.NULL):
            return None
        case Scalar():
            return (node.kind, node.text)
        case Sequence():
            return [told(item) for item in node.items]
        case Mapping():
            return {entry.key: told(entry.value) for entry in node.entries}


@given(st.dictionaries(TEXTS, TREES, max_size=4).map(mapping))
def test_yaml_is_read_again_as_what_was_written(tree: Mapping) -> None:
    problems = Problems()
    again = parse(yaml(tree).encode(), "a", 0, problems)
    problems.raise_any()
    assert told(again) == told(tree)


@given(st.dictionaries(TEXTS, TREES, max_size=4).map(mapping))
def test_json_is_json(tree: Mapping) -> None:
    assert json.loads(json.dumps(jsonable(tree))) == jsonable(tree)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("nginx:1.25", "nginx:1.25"),
        ("/var/lib", "/var/lib"),
        ("two words", "two words"),
        ("12", '"12"'),
        ("yes", '"yes"'),
        ("a: b", '"a: b"'),
        ("end:", '"end:"'),
        ("", '""'),
        ("-x", '"-x"'),
        ("a\nb\u2028\x07", '"a\\nb\\u2028\\u0007"'),
    ],
)
def test_quotes_stand_where_something_could_be_mistaken(text: str, written: str) -> None:
    assert yaml(Scalar(HERE, Kind.TEXT, text)) == f"{written}\n"
