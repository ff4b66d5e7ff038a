"""Makes broken files of sound ones, the same ones from the same seed."""

import functools
import random
from collections.abc import Callable
from typing import Final

from deploy.compose.errors import Problems
from deploy.compose.read import parse
from deploy.compose.tree import Entry, Kind, Mapping, Mark, Node, Scalar, Sequence
from deploy.compose.write import yaml

_HERE: Final = Mark(0, 1, "mutant")
_WORDS: Final = (
    *("", " ", "0", "-1", "1.5", "1e999", "true", "null", "~", "yes", ".", "..", "/", "./a", "~/a"),
    *("a:b:c:d", ":", "=", "a=b", "80:80", "0:0", "99999:1", "${", "${X", "$", "$$", "${X:-y}"),
    *("${X:?no}", "x" * 300, "ä\u2028b", "\x7f", "\ud7ff", "10s", "5gb", "* * * * *", "!reset"),
    *("web", "db", "host", "none", "all", "always", "service:web", "compose.yaml", "/dev/zero"),
)
_BYTES: Final = (b"\x00", b"\xff", b"\t", b"\n", b":", b"- ", b"{", b"]", b"&a ", b"*a", b"<<: ")


def mutant(content: bytes, seed: int) -> bytes:
    """Return a file with one to four things changed; the seed says which."""
    rng = random.Random(seed)  # noqa: S311 - a replayable choice
    if rng.random() < 0.25:
        return _torn(content, rng)
    tree: Node = _parsed(content)
    for _ in range(rng.randint(1, 4)):
        tree = _changed(tree, rng, rng.randrange(_size(tree)))
    return yaml(tree).encode(errors="surrogatepass")


@functools.cache
def _parsed(content: bytes) -> Node:
    return parse(content, "mutant", 0, Problems())


def _torn(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    end = min(len(content), start + rng.randint(0, 30))
    piece = b"".join(rng.choices(_BYTES, k=rng.randint(0, 3)))
    return content[:start] + piece + rng.choice([content[end:], content[start:], b""])


def _size(node: Node) -> int:
    match node:
        case Scalar():
            return 1
        case Sequence():
            return 1 + sum(_size(item) for item in node.items)
        case Mapping():
            return 1 + sum(_size(entry.value) for entry in node.entries)


def _changed(node: Node, rng: random.Random, at: int) -> Node:
    """Return a tree in which the value that is number `at` is another one."""
    if at == 0:
        return rng.choice(_CHANGES)(node, rng)
    at -= 1
    if isinstance(node, Sequence):
        items = list(node.items)
        for n, item in enumerate(items):
            if at < _size(item):
                items[n] = _changed(item, rng, at)
                break
            at -= _size(item)
        return Sequence(node.mark, tuple(items))
    assert isinstance(node, Mapping), "a scalar has nothing inside"
    entries = list(node.entries)
    for n, entry in enumerate(entries):
        if at < _size(entry.value):
            entries[n] = Entry(entry.mark, entry.key, _changed(entry.value, rng, at))
            break
        at -= _size(entry.value)
    return Mapping(node.mark, tuple(entries))


def _other_type(_: Node, rng: random.Random) -> Node:
    text = Scalar(_HERE, Kind.TEXT, rng.choice(_WORDS))
    number = Scalar(_HERE, Kind.INT, str(rng.choice([0, 1, -1, 7, 2**40, 10**17])))
    others: list[Node] = [
        text,
        text,
        number,
        Scalar(_HERE, Kind.NULL, ""),
        Scalar(_HERE, Kind.BOOL, "true"),
        Sequence(_HERE, (text, number)),
        Mapping(_HERE, (Entry(_HERE, "a", text),)),
        Sequence(_HERE, ()),
        Mapping(_HERE, ()),
    ]
    return rng.choice(others)


def _one_less(node: Node, rng: random.Random) -> Node:
    if isinstance(node, Sequence) and node.items:
        gone = rng.randrange(len(node.items))
        return Sequence(node.mark, node.items[:gone] + node.items[gone + 1 :])
    if isinstance(node, Mapping) and node.entries:
        gone = rng.randrange(len(node.entries))
        return Mapping(node.mark, node.entries[:gone] + node.entries[gone + 1 :])
    return _other_type(node, rng)


def _swapped(node: Node, rng: random.Random) -> Node:
    if isinstance(node, Mapping) and len(node.entries) > 1:
        entries = list(node.entries)
        a, b = rng.sample(range(len(entries)), 2)
        one, other = entries[a], entries[b]
        entries[a] = Entry(one.mark, one.key, other.value)
        entries[b] = Entry(other.mark, other.key, one.value)
        return Mapping(node.mark, tuple(entries))
    if isinstance(node, Sequence) and node.items:
        return Sequence(node.mark, (*node.items, rng.choice(node.items)))
    return _other_type(node, rng)


def _renamed(node: Node, rng: random.Random) -> Node:
    if not isinstance(node, Mapping) or not node.entries:
        return _other_type(node, rng)
    entries = list(node.entries)
    n = rng.randrange(len(entries))
    keys = {entry.key for entry in entries}
    key = rng.choice([*_WORDS, "extends", "profiles", "volumes", "x-hafen", "deploy", "secrets"])
    if key not in keys:
        entries[n] = Entry(_HERE, key, entries[n].value)
    return Mapping(node.mark, tuple(entries))


def _spoilt(node: Node, rng: random.Random) -> Node:
    if not isinstance(node, Scalar):
        return _one_less(node, rng)
    text = node.text
    at = rng.randint(0, len(text))
    return Scalar(node.mark, Kind.TEXT, text[:at] + rng.choice(_WORDS)[:10] + text[at:])


_CHANGES: Final[tuple[Callable[[Node, random.Random], Node], ...]] = (
    _other_type,
    _one_less,
    _swapped,
    _renamed,
    _spoilt,
)
