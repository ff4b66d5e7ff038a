"""Reads one value of the tree at a time: what it must be, and one line about it when it is not.

Pure. A parser takes a Cursor and returns a value, or writes a problem down and raises RefusedError.
A table maps a Compose key to the attribute it fills and the parser of its value: to support one key
more, add a row.
"""

import contextlib
import difflib
import re
from collections.abc import Callable, Sequence
from collections.abc import Mapping as Lookup
from typing import Final, TypeVar

import msgspec

from deploy.compose.errors import Problems, RefusedError
from deploy.compose.tree import (
    Kind,
    Mapping,
    Mark,
    Node,
    Path,
    Scalar,
    is_extension,
    quoted,
    shown,
)
from deploy.compose.tree import Sequence as NodeList

R = TypeVar("R", bound=msgspec.Struct)
T = TypeVar("T")

_WHOLE: Final = re.compile(r"[0-9]{1,18}")
# Numbers that Compose spells as they were written; 3.10, 0x1F or 1_000 it would change.
_STEADY_NUMBER: Final = re.compile(r"0|-?[1-9][0-9]{0,14}|-?(0|[1-9][0-9]{0,5})\.[0-9]{0,3}[1-9]")
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
_NEAR: Final = 0.75  # difflib's ratio: imgae finds image, volumes finds nothing


class Cursor(msgspec.Struct, frozen=True):
    """A value, where it stands, and where to write down what is wrong with it.

    Attributes:
        mark: of the value's key, or of the value itself in a list.
    """

    node: Node
    mark: Mark
    path: Path
    problems: Problems

    def refuse(self, what: str) -> RefusedError:
        """Write down a problem with this value; return the error for callers to raise."""
        return self.problems.add(self.mark, self.path, what)

    def expected(self, what: str) -> RefusedError:
        """Write down that this value is not what it should be."""
        if isinstance(self.node, Scalar) and self.node.kind is Kind.BROKEN:
            return RefusedError(what)
        return self.refuse(f"expected {what}, got {shown(self.node)}")

    def is_null(self) -> bool:
        """Say whether nothing is written here."""
        return isinstance(self.node, Scalar) and self.node.kind is Kind.NULL

    def scalar(self, what: str) -> Scalar:
        """Return the single value that stands here; `what` it should be goes into the refusal."""
        if isinstance(self.node, Scalar) and self.node.kind not in {Kind.BROKEN, Kind.NULL}:
            return self.node
        raise self.expected(what)

    def entries(self, what: str = "a mapping") -> list["Cursor"]:
        """Return the values of a mapping, extensions left out."""
        if not isinstance(self.node, Mapping):
            raise self.expected(what)
        return [
            Cursor(entry.value, entry.mark, (*self.path, entry.key), self.problems)
            for entry in self.node.entries
            if not is_extension(self.path, entry.key)
        ]

    def items(self, what: str = "a list") -> list["Cursor"]:
        """Return the items of a list."""
        if not isinstance(self.node, NodeList):
            raise self.expected(what)
        return [
            Cursor(item, item.mark, (*self.path, n), self.problems)
            for n, item in enumerate(self.node.items)
        ]

    def below(self, *keys: str) -> "Cursor":
        """Return the cursor at a key below this one, or as near to it as the file goes."""
        here = self
        for key in keys:
            entry = here.node.get(key) if isinstance(here.node, Mapping) else None
            if entry is None:
                break
            here = Cursor(entry.value, entry.mark, (*here.path, key), self.problems)
        return here

    @property
    def key(self) -> str:
        """Return the last part of the path."""
        return str(self.path[-1])


class Field(msgspec.Struct, frozen=True):
    """A row of a table: which attribute a key fills, and how its value is read."""

    attribute: str
    parse: Callable[[Cursor], object]


Table = Lookup[str, Field]


def record(at: Cursor, start: R, table: Table, hints: Lookup[str, str] | None = None) -> R:
    """Return `start` with what the mapping at the cursor says; an unknown key is a problem.

    Args:
        at: a mapping.
        start: the record with its defaults.
        table: every key that is known here.
        hints: what to say about keys that are not, where there is more to say.
    """
    values, _ = _read(at, table, hints or {})
    return msgspec.structs.replace(start, **values)


def sound_record(at: Cursor, start: R, table: Table) -> R:
    """Return what `record` returns; refuse the whole where a part of it was refused."""
    values, is_sound = _read(at, table, {})
    if not is_sound:
        raise RefusedError("a part of it was refused")
    return msgspec.structs.replace(start, **values)


def _read(at: Cursor, table: Table, hints: Lookup[str, str]) -> tuple[dict[str, object], bool]:
    """Return attribute -> value, and whether nothing was refused."""
    values: dict[str, object] = {}
    children = at.entries()
    for child in children:
        field = table.get(child.key)
        if field is None:
            child.refuse(_unknown(child.key, table, hints))
            continue
        with contextlib.suppress(RefusedError):
            values[field.attribute] = field.parse(child)
    return values, len(values) == len(children)


def _unknown(key: str, table: Table, hints: Lookup[str, str]) -> str:
    near = difflib.get_close_matches(key, table, n=1, cutoff=_NEAR)
    hint = hints.get(key) or (f"did you mean {near[0]}?" if near else "")
    return "hafen does not know this key yet" + (f"; {hint}" if hint else "")


def each(cursors: Sequence[Cursor], parse: Callable[[Cursor], T]) -> tuple[T, ...]:
    """Return what `parse` makes of every cursor that it does not refuse."""
    found: list[T] = []
    for cursor in cursors:
        with contextlib.suppress(RefusedError):
            found.append(parse(cursor))
    return tuple(found)


def text(at: Cursor) -> str:
    """Return text. A number or a truth value is refused: only quotes say how it should be spelt."""
    node = at.scalar("text")
    if node.kind is not Kind.TEXT:
        raise at.refuse(f"expected text, got {node.text}; put it in quotes")
    return _storable(at, node.text)


def _storable(at: Cursor, value: str) -> str:
    """Return text that can be stored as UTF-8 and handed to a program."""
    if _UNSTORABLE.search(value):
        raise at.refuse("holds a NUL or half of a character; no program could be given this")
    return value


def value_text(at: Cursor) -> str:
    """Return a variable's or a label's value as text; it may be a number or a truth value."""
    node = at.scalar("text")
    if node.kind is Kind.TEXT:
        return text(at)
    if node.text in {"true", "false"} or _STEADY_NUMBER.fullmatch(node.text):
        return node.text
    raise at.refuse(f"YAML reads {node.text} as a number or a truth value; put it in quotes")


def whole(at: Cursor, least: int, most: int) -> int:
    """Return a whole number between two bounds; digits in quotes or from a variable will do."""
    node = at.scalar("a whole number")
    if node.kind not in {Kind.INT, Kind.TEXT} or not _WHOLE.fullmatch(node.text):
        raise at.expected("a whole number")
    number = int(node.text)
    if not least <= number <= most:
        raise at.expected(f"a whole number from {least} to {most}")
    return number


def truth(at: Cursor) -> bool:
    """Return true or false."""
    node = at.scalar("true or false")
    if node.kind not in {Kind.BOOL, Kind.TEXT} or node.text.lower() not in {"true", "false"}:
        raise at.expected("true or false")
    return node.text.lower() == "true"


def amount(at: Cursor, convert: Callable[[str], T]) -> T:
    """Return a number with a unit, read by one of units.py's functions."""
    node = at.scalar("a number")
    try:
        return convert(node.text)
    except ValueError as error:
        raise at.refuse(f"{error}, got {shown(node)}") from error


def pairs(at: Cursor, bare: Callable[[str], str | None]) -> dict[str, str]:
    """Return names and values, written as a mapping or as a list of NAME=value.

    Args:
        at: the mapping or the list; nothing at all counts as empty.
        bare: gives the value of a name that stands alone; None leaves it out.
    """
    if at.is_null():
        return {}
    is_list = isinstance(at.node, NodeList)
    children = at.items() if is_list else at.entries("a mapping or a list of NAME=value")
    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    for child, name, written in each(children, _listed if is_list else _mapped):
        if name in lines:
            child.refuse(f"{quoted(name)} is in line {lines[name]} already")
            continue
        lines[name] = child.mark.line
        value = bare(name) if written is None else written
        if value is not None:
            with contextlib.suppress(RefusedError):
                found[name] = _storable(child, value)
    return found


def _listed(at: Cursor) -> tuple[Cursor, str, str | None]:
    at.scalar("NAME=value")
    name, equals, value = text(at).partition("=")
    if not name:
        raise at.refuse("expected NAME=value, got no name")
    return at, name, value if equals else None


def _mapped(at: Cursor) -> tuple[Cursor, str, str | None]:
    if not at.key or "=" in at.key or _UNSTORABLE.search(at.key):
        raise at.refuse("a name cannot be empty or hold = or NUL")
    return at, at.key, None if at.is_null() else value_text(at)
