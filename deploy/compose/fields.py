"""Reads one value of the tree at a time: what it must be, and one line about it when it is not.

Pure. A parser takes a Cursor and returns a value, or writes a problem down and raises RefusedError.
A table maps a Compose key to the attribute it fills and the parser of its value: to support one key
more, add a row.
"""

import contextlib
import difflib
import enum
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

    def warn(self, what: str) -> None:
        """Write down what a person should know about this value, although it is not wrong."""
        self.problems.warn(self.mark, self.path, what)

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


class Standing(enum.StrEnum):
    """What hafen does with a key; docs/compose.md says the same word."""

    WORKS = "works"
    WARNS = "warns"
    REFUSED = "refused"


class Field(msgspec.Struct, frozen=True):
    """A row of a table: which attribute a key fills, and how its value is read.

    Attributes:
        attribute: with a dot, of a record inside; empty: the value is not kept.
    """

    attribute: str
    parse: Callable[[Cursor], object]
    standing: Standing = Standing.WORKS


Table = Lookup[str, Field]


def refused(why: str) -> Field:
    """Return the row of a key that hafen refuses; `why` says what to write instead."""

    def refuse(at: Cursor) -> None:
        raise at.refuse(why)

    return Field("", refuse, Standing.REFUSED)


def warned(why: str) -> Field:
    """Return the row of a key that cannot matter on a cluster: it is left out, visibly."""
    return Field("", lambda at: at.warn(why), Standing.WARNS)


def checked(parse: Callable[[Cursor], object], standing: Standing = Standing.WORKS) -> Field:
    """Return the row of a key that is read for its mistakes only."""
    return Field("", parse, standing)


def record(at: Cursor, start: R, table: Table, hints: Lookup[str, str] | None = None) -> R:
    """Return `start` with what the mapping at the cursor says; an unknown key is a problem.

    Args:
        at: a mapping.
        start: the record with its defaults.
        table: every key that is known here.
        hints: what to say about keys that are not, where there is more to say.
    """
    values, _ = _read(at, table, hints or {})
    return _filled(start, values)


def sound_record(at: Cursor, start: R, table: Table) -> R:
    """Return what `record` returns; refuse the whole where a part of it was refused."""
    values, is_sound = _read(at, table, {})
    if not is_sound:
        raise RefusedError("a part of it was refused")  # what was wrong is written down already
    return _filled(start, values)


def _filled(start: R, values: Lookup[str, object]) -> R:
    """Return a record with new values; "security.user" is `user` of the record in `security`."""
    own: dict[str, object] = {}
    inner: dict[str, dict[str, object]] = {}
    for attribute, value in values.items():
        outer, _, name = attribute.rpartition(".")
        (inner.setdefault(outer, {}) if outer else own)[name] = value
    for outer, of_inner in inner.items():
        own[outer] = msgspec.structs.replace(getattr(start, outer), **of_inner)
    return msgspec.structs.replace(start, **own)


def _read(at: Cursor, table: Table, hints: Lookup[str, str]) -> tuple[dict[str, object], bool]:
    """Return attribute -> value, and whether nothing was refused."""
    values: dict[str, object] = {}
    is_sound = True
    for child in at.entries():
        field = table.get(child.key)
        if field is None:
            child.refuse(_unknown(child.key, table, hints))
            is_sound = False
            continue
        try:
            value = field.parse(child)
        except RefusedError:
            is_sound = False
            continue
        if field.attribute:
            values[field.attribute] = value
    return values, is_sound


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


def one_of(at: Cursor, *words: str) -> str:
    """Return one of these words."""
    word = text(at)
    if word not in words:
        raise at.expected(f"{', '.join(words[:-1])} or {words[-1]}")
    return word


def items(at: Cursor) -> list[Cursor]:
    """Return the items of a list; nothing at all counts as empty."""
    return [] if at.is_null() else at.items()


def one_or_more(at: Cursor) -> list[Cursor]:
    """Return the items of a list, or a single value as the only one."""
    return [at] if isinstance(at.node, Scalar) and not at.is_null() else items(at)


def texts(at: Cursor) -> tuple[str, ...]:
    """Return a list of texts; numbers and truth values are taken as they are spelt."""
    return each(items(at), value_text)


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
