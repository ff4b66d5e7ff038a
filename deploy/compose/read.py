"""YAML text -> located tree, within limits.

Pure. YAML 1.2 with merge keys, as Compose has it. Scalars keep their text; what a value must be is
decided later, key by key, so `3.10` and `no` reach the reader's message as they were written.
"""

import re
from collections.abc import Iterator
from typing import Final

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from deploy.compose.errors import Problems
from deploy.compose.tree import (
    Entry,
    Kind,
    Mapping,
    Mark,
    Node,
    Path,
    Scalar,
    Sequence,
    Tag,
    printable,
    quoted,
)
from shared.errors import SpecError

BYTES_MAX: Final = 1024 * 1024  # a stack of this size could not be stored either
DEPTH_MAX: Final = 50  # Compose itself needs about ten
NODES_MAX: Final = 100_000  # counted after aliases: nine short lines could stand for billions

ContentEvent = ScalarEvent | SequenceStartEvent | MappingStartEvent

_TEXT_TAGS: Final = {"!", "tag:yaml.org,2002:str"}
_MERGE_TAGS: Final = {str(Tag.RESET), str(Tag.OVERRIDE)}
_KINDS: Final = (
    (Kind.NULL, re.compile(r"|~|null|Null|NULL")),
    (Kind.BOOL, re.compile(r"true|True|TRUE|false|False|FALSE")),
    # Wider than YAML 1.2: Compose's own reader takes 1_000, 017 and 0b1 for numbers.
    (Kind.INT, re.compile(r"[-+]?([0-9][0-9_]*|0o[0-7_]+|0x[0-9a-fA-F_]+|0b[01_]+)")),
    (Kind.FLOAT, re.compile(r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?")),
    (Kind.FLOAT, re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")),
)


def parse(content: bytes, file: str, order: int, problems: Problems) -> Mapping:
    """Return the one document in `content`, which must be a mapping.

    Args:
        content: the file's bytes.
        file: its name for messages.
        order: its position among the files given.
        problems: receives what does not stop the reading, such as a key given twice.

    Raises:
        SpecError: this is no YAML, or more of it than the limits allow; names file and line.
    """
    if len(content) > BYTES_MAX:
        raise SpecError(f"{file}: larger than {BYTES_MAX} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SpecError(f"{file}:{line}: this is not UTF-8 text") from error
    node = _Reader(text, file, order, problems).document()
    if not isinstance(node, Mapping):
        raise SpecError(f"{file}:{node.mark.line}: expected keys and values, as in `services:`")
    return node


def kind_of(text: str) -> Kind:
    """Return what YAML takes an unquoted scalar for."""
    return next((kind for kind, pattern in _KINDS if pattern.fullmatch(text)), Kind.TEXT)


class _Anchored:
    """A node that aliases may repeat, with what a repetition costs."""

    def __init__(self, node: Node, size: int, height: int) -> None:
        self.node, self.size, self.height = node, size, height


class _Reader:
    """Builds the tree from the parser's events; one use."""

    def __init__(self, text: str, file: str, order: int, problems: Problems) -> None:
        self._text, self._file, self._order = text, file, order
        self._problems = problems
        self._events = self._checked_events()
        self._anchors: dict[str, _Anchored | None] = {}  # None: still being read
        self._line = 1  # of the last event
        self._nodes = 0
        self._deepest = 0

    def document(self) -> Node:
        """Return the only document of the stream."""
        self._next()  # the stream's start
        event = self._next()
        if isinstance(event, StreamEndEvent):
            raise SpecError(f"{self._file}:1: the file is empty")
        node = self._node(self._next(), (), 1)
        self._next()  # the document's end
        event = self._next()
        if isinstance(event, DocumentStartEvent):
            raise self._fatal(event, "a second document begins here; one file holds one")
        return node

    def _next(self) -> Event:
        return next(self._events)

    def _checked_events(self) -> Iterator[Event]:
        yaml = YAML(typ="safe", pure=True)
        try:
            for event in yaml.parse(self._text):
                self._line = event.start_mark.line + 1
                yield event
        except MarkedYAMLError as error:
            raise self._syntax(error) from error
        except YAMLError as error:
            # The only one without a mark: a character that YAML forbids, at a position in the text.
            line = self._text.count("\n", 0, getattr(error, "position", 0)) + 1
            raise SpecError(f"{self._file}:{line}: a character that YAML does not allow") from error
        except (ValueError, OverflowError, AssertionError) as error:
            # The parser lets these through for "\UFFFFFFFF" and for an unknown %YAML version.
            where = f"{self._file}:{self._line}"
            raise SpecError(f"{where}: from here on this is not YAML") from error

    def _syntax(self, error: MarkedYAMLError) -> SpecError:
        mark = error.problem_mark or error.context_mark
        where = f"{self._file}:{mark.line + 1}" if mark else self._file
        what = " ".join(str(error.problem or error.context or "unreadable").split())
        if "'\\t'" in what:
            what = "a tab stands where YAML wants spaces"
        return SpecError(printable(f"{where}: this is not YAML: {what}"))

    def _fatal(self, event: Event, what: str) -> SpecError:
        return SpecError(printable(f"{self._file}:{self._mark(event).line}: {what}"))

    def _mark(self, event: Event) -> Mark:
        return Mark(self._order, event.start_mark.line + 1, self._file)

    def _count(self, event: Event, size: int, depth: int) -> None:
        self._nodes += size
        self._deepest = max(self._deepest, depth)
        if self._nodes > NODES_MAX:
            raise self._fatal(event, f"more than {NODES_MAX} values, aliases counted each time")
        if depth > DEPTH_MAX:
            raise self._fatal(event, f"nested more than {DEPTH_MAX} deep")

    def _node(self, event: Event, path: Path, depth: int) -> Node:
        if isinstance(event, AliasEvent):
            return self._alias(event, depth)
        if not isinstance(event, ScalarEvent | SequenceStartEvent | MappingStartEvent):
            raise self._fatal(event, "this is not YAML: a value is missing")
        self._count(event, 1, depth)
        anchor = event.anchor
        before, deepest = self._nodes - 1, self._deepest
        if anchor:
            self._anchors[anchor], self._deepest = None, depth
        node = self._content(event, path, depth)
        if anchor:
            height = self._deepest - depth
            self._anchors[anchor] = _Anchored(node, self._nodes - before, height)
            self._deepest = max(deepest, self._deepest)
        return node

    def _alias(self, event: AliasEvent, depth: int) -> Node:
        known = event.anchor in self._anchors
        anchored = self._anchors.get(event.anchor)
        if anchored is None:
            why = "stands inside what it names" if known else "names nothing above it"
            raise self._fatal(event, f"the alias *{event.anchor} {why}")
        self._count(event, anchored.size, depth + anchored.height)
        return anchored.node

    def _content(self, event: ContentEvent, path: Path, depth: int) -> Node:
        tag = event.tag
        if tag is not None and not (isinstance(event, ScalarEvent) and tag in _TEXT_TAGS):
            raise self._fatal(event, f"hafen does not know the YAML tag {quoted(tag)}")
        match event:
            case ScalarEvent():
                return self._scalar(event)
            case SequenceStartEvent():
                return self._sequence(event, path, depth)
            case MappingStartEvent():
                return self._mapping(event, path, depth)

    def _scalar(self, event: ScalarEvent) -> Scalar:
        plain = event.implicit[0] and not event.tag
        kind = kind_of(event.value) if plain else Kind.TEXT
        return Scalar(self._mark(event), kind, event.value)

    def _sequence(self, start: Event, path: Path, depth: int) -> Sequence:
        items: list[Node] = []
        while not isinstance(event := self._next(), SequenceEndEvent):
            items.append(self._node(event, (*path, len(items)), depth + 1))
        return Sequence(self._mark(start), tuple(items))

    def _mapping(self, start: Event, path: Path, depth: int) -> Mapping:
        entries: dict[str, Entry] = {}
        merged: list[Mapping] = []
        while not isinstance(event := self._next(), MappingEndEvent):
            mark = self._mark(event)
            if self._is_merge(event):
                self._count(event, 1, depth + 1)
                value = self._node(self._next(), (*path, "<<"), depth + 1)
                merged += self._merge_sources(value, mark, path)
                continue
            key = self._key(event, path, depth)
            event = self._next()
            tag = self._merge_tag(event)
            value = self._node(event, (*path, key), depth + 1)
            if key in entries:
                what = f"the same key is in line {entries[key].mark.line} already"
                self._problems.add(mark, (*path, key), what)
            entries.setdefault(key, Entry(mark, key, value, tag))
        for source in merged:
            # What stands here wins over what is merged in; of several sources the first wins.
            for entry in source.entries:
                entries.setdefault(entry.key, entry)
        return Mapping(self._mark(start), tuple(entries.values()))

    @staticmethod
    def _merge_tag(event: Event) -> Tag:
        """Return what a value's tag says about merging, and take it off the event."""
        tag = getattr(event, "tag", None)
        if tag not in _MERGE_TAGS or not isinstance(event, ContentEvent):
            return Tag.NONE
        event.ctag = None
        if isinstance(event, ScalarEvent) and not event.style:
            event.implicit = (True, False)  # without the tag it is an ordinary plain scalar
        return Tag(str(tag))

    def _key(self, event: Event, path: Path, depth: int) -> str:
        node = self._node(event, path, depth + 1)
        if isinstance(node, Scalar) and node.kind is Kind.TEXT:
            return node.text
        what = node.text if isinstance(node, Scalar) and node.text else "this"
        raise self._fatal(event, f"{what} cannot be a key; put it in quotes")

    @staticmethod
    def _is_merge(event: Event) -> bool:
        return isinstance(event, ScalarEvent) and event.value == "<<" and event.implicit[0]

    def _merge_sources(self, node: Node, mark: Mark, path: Path) -> list[Mapping]:
        items = node.items if isinstance(node, Sequence) else (node,)
        sources = [item for item in items if isinstance(item, Mapping)]
        if len(sources) < len(items):
            self._problems.add(mark, (*path, "<<"), "only mappings can be merged in")
        return sources
