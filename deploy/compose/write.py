"""A tree -> YAML or JSON text, spelt so that it is read as what it is.

Pure. Only as much of YAML as is needed: blocks, plain words where nothing can be mistaken, double
quotes everywhere else.
"""

import json
import re
from collections.abc import Iterator
from typing import Final

from deploy.compose.read import kind_of
from deploy.compose.tree import Kind, Mapping, Node, Scalar, Sequence

_PLAIN: Final = re.compile(
    r"[A-Za-z_./](?:[A-Za-z0-9_./ +=@,()-]|:(?![ ]|\Z))*|[0-9][A-Za-z0-9_./ +=@,()-]*"
)
_OLD_TRUTH: Final = {"y", "n", "yes", "no", "on", "off"}  # to readers of YAML 1.1
_STEADY: Final = re.compile(r"0|-?[1-9][0-9]{0,14}")
_STEADY_FLOAT: Final = re.compile(r"-?(0|[1-9][0-9]{0,5})\.[0-9]{0,3}[1-9]")


def yaml(node: Node) -> str:
    """Return a tree as YAML."""
    return "".join(f"{line}\n" for line in _lines(node))


def jsonable(node: Node) -> object:
    """Return a tree as JSON has it; numbers that JSON would spell differently are text."""
    match node:
        case Sequence():
            return [jsonable(item) for item in node.items]
        case Mapping():
            return {entry.key: jsonable(entry.value) for entry in node.entries}
        case Scalar():
            return _value(node)


def _value(node: Scalar) -> object:
    match node.kind:
        case Kind.NULL:
            return None
        case Kind.BOOL:
            return node.text.lower() == "true"
        case Kind.INT if _STEADY.fullmatch(node.text):
            return int(node.text)
        case Kind.FLOAT if _STEADY_FLOAT.fullmatch(node.text):
            return float(node.text)
        case _:
            return node.text


def _lines(node: Node) -> Iterator[str]:
    match node:
        case Mapping() if node.entries:
            for entry in node.entries:
                yield from _under(f"{_word(entry.key)}:", entry.value, is_item=False)
        case Sequence() if node.items:
            for item in node.items:
                yield from _under("-", item, is_item=True)
        case _:
            yield _single(node)


def _under(head: str, node: Node, *, is_item: bool) -> Iterator[str]:
    lines = list(_lines(node))
    is_block = isinstance(node, Mapping | Sequence) and _single(node) == ""
    if not is_block:
        yield f"{head} {lines[0]}"
    elif is_item:
        yield f"{head} {lines[0]}"
        yield from (f"  {line}" for line in lines[1:])
    else:
        yield head
        yield from (f"  {line}" for line in lines)


def _single(node: Node) -> str:
    """Return what fits in one line; nothing for a block."""
    match node:
        case Mapping():
            return "" if node.entries else "{}"
        case Sequence():
            return "" if node.items else "[]"
        case Scalar(kind=Kind.NULL):
            return "null"
        case Scalar(kind=Kind.TEXT):
            return _word(node.text)
        case Scalar():
            return node.text


def _word(text: str) -> str:
    is_safe = _PLAIN.fullmatch(text) and not text.endswith(" ") and text.lower() not in _OLD_TRUTH
    if is_safe and kind_of(text) is Kind.TEXT and not text.startswith(("---", "...")):
        return text
    return "".join(_char(char) for char in json.dumps(text, ensure_ascii=False))


def _char(char: str) -> str:
    """Return a character, or its escape where YAML does not take it as it is."""
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\U{code:08x}" if code > 0xFFFF else f"\\u{code:04x}"  # noqa: PLR2004 - four digits
