"""Puts variables into text: every form that Compose has, from `$NAME` to `${A:-${B:?why}}`.

Pure. A variable that is missing and has no default is refused, where Compose would warn and go on
with nothing: an image called `app:` or an empty password is never what was meant.
"""

import re
from collections.abc import Mapping as Lookup
from typing import Final, NoReturn

import msgspec

from deploy.compose.errors import Problems
from deploy.compose.tree import (
    Entry,
    Kind,
    Mapping,
    Node,
    Path,
    Scalar,
    Sequence,
    is_extension,
    quoted,
)

DEPTH_MAX: Final = 20  # of defaults inside defaults
# One variable may be long and be named often: together they may not outgrow what could be stored.
CHARS_MAX: Final = 1024 * 1024

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR: Final = re.compile(r":-|:\?|:\+|-|\?|\+")


class ExpandError(ValueError):
    """Text cannot be expanded; the message says why, without saying where."""


class Variable(msgspec.Struct, frozen=True):
    """A `${...}`; `operator` stands before `word`: a default, a message or a replacement."""

    name: str
    operator: str = ""
    word: tuple["Part", ...] = ()


Part = str | Variable


def parse(text: str) -> tuple[Part, ...]:
    """Return text as literal pieces and variables; no two literal pieces follow each other.

    Raises:
        ExpandError: a dollar sign is neither `$$` nor the start of a variable.
    """
    return _Parser(text).parts(0)


def expand(text: str, variables: Lookup[str, str]) -> str:
    """Return text with its variables replaced; values are not searched for further variables.

    Raises:
        ExpandError: the text is malformed, a variable is missing, or the result is too long.
    """
    return _evaluate(parse(text), variables)


class _Parser:
    """Recursive descent over one text; one use."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0

    def parts(self, depth: int) -> tuple[Part, ...]:
        """Return everything up to the end of the text or, inside a variable, up to its brace."""
        parts: list[Part] = []
        literal = ""
        while self._at < len(self._text) and not (depth and self._text[self._at] == "}"):
            end = self._literal_end(depth)
            literal += self._text[self._at : end]
            self._at = end
            if self._text.startswith("$$", end):
                literal += "$"
                self._at += 2
            elif self._text.startswith("$", end):
                parts += [literal, self._variable(depth)] if literal else [self._variable(depth)]
                literal = ""
        return (*parts, literal) if literal else tuple(parts)

    def _literal_end(self, depth: int) -> int:
        stops = [self._text.find(stop, self._at) for stop in ("$}" if depth else "$")]
        return min((stop for stop in stops if stop >= 0), default=len(self._text))

    def _variable(self, depth: int) -> Variable:
        start = self._at
        is_braced = self._text.startswith("${", start)
        name = _NAME.match(self._text, start + (2 if is_braced else 1))
        if name is None:
            self._refuse(start, "is not a variable")
        self._at = name.end()
        if not is_braced:
            return Variable(name.group())
        operator = _OPERATOR.match(self._text, self._at)
        word: tuple[Part, ...] = ()
        if operator is not None:
            if depth >= DEPTH_MAX:
                raise ExpandError(f"variables are nested more than {DEPTH_MAX} deep")
            self._at = operator.end()
            word = self.parts(depth + 1)
        if not self._text.startswith("}", self._at):
            self._refuse(
                start, "is not a variable" if self._at < len(self._text) else "is not closed"
            )
        self._at += 1
        return Variable(name.group(), operator.group() if operator else "", word)

    def _refuse(self, start: int, what: str) -> NoReturn:
        raise ExpandError(
            f"{quoted(self._text[start : start + 12])} {what}; write $$ for a dollar sign"
        )


def _evaluate(parts: tuple[Part, ...], variables: Lookup[str, str]) -> str:
    """Return the parts joined; words of variables are looked at only where they are needed."""
    pieces: list[str] = []
    chars = 0
    for part in parts:
        piece = part if isinstance(part, str) else _value(part, variables)
        pieces.append(piece)
        chars += len(piece)
        if chars > CHARS_MAX:
            raise ExpandError(f"becomes longer than {CHARS_MAX} characters with its variables")
    return "".join(pieces)


def _value(variable: Variable, variables: Lookup[str, str]) -> str:
    value = variables.get(variable.name)
    # With a colon, a variable that is set to nothing counts as not set.
    is_there = bool(value) if variable.operator.startswith(":") else value is not None
    if variable.operator.endswith("+"):
        return _evaluate(variable.word, variables) if is_there else ""
    if is_there:
        return value or ""
    if variable.operator.endswith("-"):
        return _evaluate(variable.word, variables)
    raise ExpandError(_missing(variable, value, variables))


def _missing(variable: Variable, value: str | None, variables: Lookup[str, str]) -> str:
    name = variable.name
    if not variable.operator:
        return f"variable {name} is not set; set it or write ${{{name}:-default}}"
    state = "is not set" if value is None else "is empty"
    why = " ".join(_evaluate(variable.word, variables).split())
    return f"variable {name} {state}: {why}" if why else f"variable {name} {state}"


class Expander:
    """Replaces the variables of whole trees; what cannot be replaced becomes a problem."""

    def __init__(self, variables: Lookup[str, str], problems: Problems) -> None:
        self._variables, self._problems = variables, problems
        self._chars = 0

    def tree(self, node: Node, path: Path = ()) -> Node:
        """Return the tree with all values expanded; keys and extensions stay as they are."""
        match node:
            case Scalar():
                return self._scalar(node, path)
            case Sequence():
                items = (self.tree(item, (*path, n)) for n, item in enumerate(node.items))
                return Sequence(node.mark, tuple(items))
            case Mapping():
                return self.mapping(node, path)

    def mapping(self, node: Mapping, path: Path = ()) -> Mapping:
        """Return the mapping with all values expanded."""
        entries = (self._entry(entry, path) for entry in node.entries)
        return Mapping(node.mark, tuple(entries))

    def _entry(self, entry: Entry, path: Path) -> Entry:
        if is_extension(path, entry.key):
            return entry
        value = self.tree(entry.value, (*path, entry.key))
        return Entry(entry.mark, entry.key, value, entry.tag)

    def _scalar(self, node: Scalar, path: Path) -> Scalar:
        if "$" not in node.text:
            return node
        try:
            text = self._budgeted(expand(node.text, self._variables))
        except ExpandError as error:
            self._problems.add(node.mark, path, str(error))
            return Scalar(node.mark, Kind.BROKEN, "")
        return Scalar(node.mark, Kind.TEXT, text)

    def _budgeted(self, text: str) -> str:
        self._chars += len(text)
        if self._chars > CHARS_MAX:
            raise ExpandError(f"the stack passes {CHARS_MAX} characters with its variables")
        return text
