"""YAML in, a tree with places out; everything that is no such file gives one clear line."""

import pytest

from deploy.compose.errors import Problems
from deploy.compose.read import BYTES_MAX, DEPTH_MAX, NODES_MAX, kind_of, parse
from deploy.compose.tree import Kind, Mapping, Node, Scalar, Sequence
from shared.errors import SpecError


def read(text: str | bytes) -> Mapping:
    """Return the tree of a file without problems."""
    problems = Problems()
    content = text if isinstance(text, bytes) else text.encode()
    tree = parse(content, "compose.yaml", 0, problems)
    problems.raise_any()
    return tree


def plain(node: Node) -> object:
    """Return a tree without places and kinds."""
    match node:
        case Scalar():
            return node.text
        case Sequence():
            return [plain(item) for item in node.items]
        case Mapping():
            return {entry.key: plain(entry.value) for entry in node.entries}


def refusal(text: str | bytes) -> str:
    """Return the message about a file that cannot be read."""
    with pytest.raises(SpecError) as refused:
        read(text)
    return str(refused.value)


def test_every_key_knows_its_line() -> None:
    tree = read("# a comment\na: 1\n\nb:\n  c: [x,\n   y]\n")
    assert [(entry.key, entry.mark.line) for entry in tree.entries] == [("a", 2), ("b", 4)]
    inner = tree.entries[1].value
    assert isinstance(inner, Mapping)
    items = inner.entries[0].value
    assert isinstance(items, Sequence)
    assert [item.mark.line for item in items.items] == [5, 6]


def test_lines_count_from_the_top_with_a_byte_order_mark_and_windows_line_ends() -> None:
    assert read(b"\xef\xbb\xbf# first\r\n\r\na: 1\r\n").entries[0].mark.line == 3


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", Kind.NULL),
        ("~", Kind.NULL),
        ("null", Kind.NULL),
        ("true", Kind.BOOL),
        ("False", Kind.BOOL),
        ("yes", Kind.TEXT),  # YAML 1.2: the country NO is not false
        ("no", Kind.TEXT),
        ("on", Kind.TEXT),
        ("3", Kind.INT),
        ("-3", Kind.INT),
        ("017", Kind.INT),
        ("0x1F", Kind.INT),
        ("1_000", Kind.INT),
        ("3.10", Kind.FLOAT),
        (".5", Kind.FLOAT),
        ("1e3", Kind.FLOAT),
        (".inf", Kind.FLOAT),
        ("8080:80", Kind.TEXT),
        ("22:22", Kind.TEXT),  # YAML 1.1 made 1342 of it
        ("1.2.3", Kind.TEXT),
        ("2001-01-01", Kind.TEXT),
        ("<<", Kind.TEXT),
    ],
)
def test_what_an_unquoted_value_is(text: str, kind: Kind) -> None:
    assert kind_of(text) is kind


def test_a_directive_does_not_bring_back_yaml_1_1() -> None:
    value = read("%YAML 1.1\n---\na: yes\n").entries[0].value
    assert isinstance(value, Scalar)
    assert value.kind is Kind.TEXT


@pytest.mark.parametrize("text", ["a: '3'", 'a: "3"', "a: !!str 3", "a: ! 3", "a: |-\n  3"])
def test_quotes_and_tags_make_text_of_anything(text: str) -> None:
    value = read(text).entries[0].value
    assert isinstance(value, Scalar)
    assert (value.kind, value.text) == (Kind.TEXT, "3")


def test_merge_keys_fill_in_what_is_not_there() -> None:
    tree = read(
        "base: &base {a: 1, b: 2}\n"
        "more: &more {b: 3, c: 4}\n"
        "one: {<<: *base, b: 0}\n"
        "two: {b: 0, <<: [*more, *base]}\n"
        "three: {<<: *more, <<: *base}\n"
        "four: {'<<': text}\n"
    )
    assert plain(tree) == {
        "base": {"a": "1", "b": "2"},
        "more": {"b": "3", "c": "4"},
        "one": {"b": "0", "a": "1"},
        "two": {"b": "0", "c": "4", "a": "1"},
        "three": {"b": "3", "c": "4", "a": "1"},
        "four": {"<<": "text"},
    }


def test_an_alias_keeps_the_lines_of_what_it_names() -> None:
    tree = read("a: &x\n  k: v\nb: *x\n")
    assert tree.entries[1].mark.line == 3
    assert tree.entries[1].value == tree.entries[0].value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "compose.yaml:1: the file is empty"),
        (b"# nothing\n", "compose.yaml:1: the file is empty"),
        (b"\n- a\n", "compose.yaml:2: expected keys and values, as in `services:`"),
        (b"just text\n", "compose.yaml:1: expected keys and values, as in `services:`"),
        (b"a: 1\nb: \xff\n", "compose.yaml:2: this is not UTF-8 text"),
        (b"\xff\xfea\x00:\x00", "compose.yaml:1: this is not UTF-8 text"),
        (b"a: 1\nb: \x00\n", "compose.yaml:2: a character that YAML does not allow"),
        (b"a:\n\tb: 1\n", "compose.yaml:2: this is not YAML: a tab stands where YAML wants spaces"),
        (b"a: 1\n---\nb: 2\n", "compose.yaml:2: a second document begins here; one file holds one"),
        (b"a: 1\n...\nb: 2\n", "compose.yaml:3: a second document begins here; one file holds one"),
        (b"a: b: c\n", "compose.yaml:1: this is not YAML: mapping values are not allowed here"),
        (
            b"a: [1\n",
            "compose.yaml:2: this is not YAML: expected ',' or ']', but got '<stream end>'",
        ),
        (b"a: *b\n", "compose.yaml:1: the alias *b names nothing above it"),
        (b"a: &b [*b]\n", "compose.yaml:1: the alias *b stands inside what it names"),
        (b"a: !set 1\n", 'compose.yaml:1: hafen does not know the YAML tag "!set"'),
        (
            b"a: !!int '1'\n",
            'compose.yaml:1: hafen does not know the YAML tag "tag:yaml.org,2002:int"',
        ),
        (b"80: a\n", "compose.yaml:1: 80 cannot be a key; put it in quotes"),
        (b"a: {true: b}\n", "compose.yaml:1: true cannot be a key; put it in quotes"),
        (b"? [a]\n: b\n", "compose.yaml:1: this cannot be a key; put it in quotes"),
        (b": b\n", "compose.yaml:1: this cannot be a key; put it in quotes"),
        (b"%YAML 1.9\n---\na: 1\n", "compose.yaml:1: from here on this is not YAML"),
        (b'\na: "\\UFFFFFFFF"\n', "compose.yaml:2: from here on this is not YAML"),
        (b"a: 1\nb: 2\na: 3\n", "compose.yaml:3: a: the same key is in line 1 already"),
        (b"a: {b: 1, b: 1}\n", "compose.yaml:1: a.b: the same key is in line 1 already"),
        (b"a: {<<: [1]}\n", "compose.yaml:1: a.<<: only mappings can be merged in"),
    ],
)
def test_what_is_no_compose_file_gives_one_line(text: bytes, message: str) -> None:
    assert refusal(text) == message


def test_size_has_an_end() -> None:
    filler = b"#" * (BYTES_MAX - len(b"a: 1\n"))
    assert plain(read(b"a: 1\n" + filler)) == {"a": "1"}
    assert refusal(b"a: 1\n" + filler + b"#") == f"compose.yaml: larger than {BYTES_MAX} bytes"


def test_depth_has_an_end() -> None:
    def nested(levels: int) -> str:
        return "a: " + "[" * levels + "]" * levels

    assert len(read(nested(DEPTH_MAX - 1)).entries) == 1
    assert refusal(nested(DEPTH_MAX)) == f"compose.yaml:1: nested more than {DEPTH_MAX} deep"


def test_depth_counts_through_aliases() -> None:
    half = "[" * (DEPTH_MAX // 2) + "]" * (DEPTH_MAX // 2)
    inner = "a: &a " + half + "\n"
    deeper = "b: " + "[" * (DEPTH_MAX // 2) + "*a" + "]" * (DEPTH_MAX // 2)
    assert refusal(inner + deeper) == f"compose.yaml:2: nested more than {DEPTH_MAX} deep"


def test_a_bomb_of_aliases_is_refused_before_it_is_walked() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    message = f"more than {NODES_MAX} values, aliases counted each time"
    assert refusal("\n".join(lines)) == f"compose.yaml:5: {message}"
