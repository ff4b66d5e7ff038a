"""A YAML document as values that know where they stand, and the paths that name places in it.

Pure. The tree is what every later step reads; nothing after read.py knows about YAML. Parts that
YAML aliases share are shared here too, so walks must not count on a node having one parent.
"""

import enum
import json
import re
from collections.abc import Hashable
from typing import Final

import msgspec

Path = tuple[str | int, ...]  # mapping keys and list positions, from the top of the document

# What hafen adds to Compose stands below this key; Compose itself ignores it.
OWN_KEY: Final = "x-hafen"
# Mappings whose keys a person chooses; everywhere else a key that starts with x- is an extension.
_FREE_KEYS: Final[tuple[Path, ...]] = (
    *((top,) for top in ("services", "networks", "volumes", "configs", "secrets", "models")),
    *(("services", "*", key) for key in ("environment", "labels", "annotations", "sysctls")),
    *(("services", "*", key) for key in ("depends_on", "networks", "extra_hosts", "ulimits")),
    *(("services", "*", "build", key) for key in ("args", "labels", "additional_contexts")),
    ("services", "*", "deploy", "labels"),
    *((top, "*", "labels") for top in ("networks", "volumes", "configs", "secrets")),
)
_PLAIN_KEY: Final = re.compile(r"<<|[A-Za-z0-9_][A-Za-z0-9_-]*")
_SHOWN_CHARS_MAX: Final = 40  # enough to recognise a value, short enough for one line


class Kind(enum.StrEnum):
    """What YAML takes a scalar for."""

    NULL = "null"
    BOOL = "bool"
    INT = "int"
    FLOAT = "float"
    TEXT = "text"
    BROKEN = "broken"  # a problem with it is already written down: say nothing more


class Tag(enum.StrEnum):
    """What a later file does to what stands under the same key in an earlier one."""

    NONE = ""
    RESET = "!reset"  # takes it away
    OVERRIDE = "!override"  # takes its place, where it would have been merged


class Mark(msgspec.Struct, frozen=True, order=True):
    """A place in a file. `order` counts the files as they were given; lines count from 1."""

    order: int
    line: int
    file: str


class Scalar(msgspec.Struct, frozen=True):
    """A single value, as it was written."""

    mark: Mark
    kind: Kind
    text: str


class Sequence(msgspec.Struct, frozen=True):
    """A list."""

    mark: Mark
    items: tuple["Node", ...]


class Entry(msgspec.Struct, frozen=True):
    """A key and its value; `mark` is the key's."""

    mark: Mark
    key: str
    value: "Node"
    tag: Tag = Tag.NONE


class Mapping(msgspec.Struct, frozen=True):
    """Keys and values in the order of the file; no key twice."""

    mark: Mark
    entries: tuple[Entry, ...]

    def get(self, key: str) -> Entry | None:
        """Return the entry with this key."""
        return next((entry for entry in self.entries if entry.key == key), None)


Node = Scalar | Sequence | Mapping


def plain(node: Node) -> Hashable:
    """Return a value without its places: two that are equal say the same."""
    match node:
        case Scalar():
            return node.text
        case Sequence():
            return tuple(plain(item) for item in node.items)
        case Mapping():
            return frozenset((entry.key, plain(entry.value)) for entry in node.entries)


def settled(node: Node) -> Node:
    """Return a tree whose tags have done what they say: nothing earlier is left for them."""
    match node:
        case Scalar():
            return node
        case Sequence():
            return Sequence(node.mark, tuple(settled(item) for item in node.items))
        case Mapping():
            return settled_mapping(node)


def settled_mapping(node: Mapping) -> Mapping:
    """Return a mapping as `settled` does."""
    kept = (entry for entry in node.entries if entry.tag is not Tag.RESET)
    return Mapping(node.mark, tuple(Entry(one.mark, one.key, settled(one.value)) for one in kept))


def is_extension(parent: Path, key: str) -> bool:
    """Say whether `key` in the mapping at `parent` is ignored: another program's extension."""
    if key == OWN_KEY or not key.startswith("x-"):
        return False
    return not any(_matches(parent, free) for free in _FREE_KEYS)


def _matches(path: Path, pattern: Path) -> bool:
    same = [wanted in {"*", part} for part, wanted in zip(path, pattern, strict=False)]
    return len(path) == len(pattern) and all(same)


def dotted(path: Path) -> str:
    """Return a path as people write it: services.web.ports[0]; odd keys are quoted."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{_plain(part)}" for part in path]
    return "".join(parts).removeprefix(".")


def _plain(key: str) -> str:
    return key if _PLAIN_KEY.fullmatch(key) else quoted(key)


def quoted(text: str) -> str:
    """Return text in double quotes on one line, shortened where it is long."""
    if len(text) > _SHOWN_CHARS_MAX:
        text = text[: _SHOWN_CHARS_MAX - 1] + "…"
    # Lone surrogates and other characters that a terminal cannot show come out as escapes.
    return json.dumps(text, ensure_ascii=not text.isprintable())


def printable(line: str) -> str:
    """Return a line without characters that could move a terminal's cursor or break the line."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)


def shown(node: Node) -> str:
    """Return a value as it should appear after "got"."""
    match node:
        case Mapping():
            return "a mapping"
        case Sequence():
            return "a list"
        case Scalar(kind=Kind.NULL):
            return "nothing"
        case Scalar(kind=Kind.TEXT):
            return quoted(node.text)
        case _:
            return node.text
