"""Several Compose files -> one tree, by Compose's rules.

Pure. A later file adds to an earlier one: mappings key by key, lists by appending what is not there
yet, single values by replacing. The exceptions stand in tables: command lines are replaced whole,
what has a short and a long form is merged in the long one, and some lists have keys of their own.
"""

from collections.abc import Callable, Hashable
from typing import Final

from deploy.compose.errors import Problems
from deploy.compose.tree import (
    Entry,
    Kind,
    Mapping,
    Node,
    Path,
    Scalar,
    Sequence,
    Tag,
    is_extension,
    plain,
    quoted,
    settled,
    settled_mapping,
    shown,
)

_REPLACED: Final = {
    ("command",),
    ("entrypoint",),
    ("healthcheck", "test"),
}
_PAIRS: Final = {
    ("environment",),
    ("labels",),
    ("annotations",),
    ("sysctls",),
    ("build", "args"),
    ("build", "labels"),
    ("deploy", "labels"),
}
# Lists of names that are mappings in the long form, and single values that are lists.
_NAMED: Final = {("depends_on",), ("networks",), ("models",)}
_LISTS: Final = {("dns",), ("dns_search",), ("tmpfs",), ("env_file",), ("label_file",)}
_SHORT: Final = {("build",): "context", ("extends",): "service"}


def merge(base: Mapping, later: Mapping, problems: Problems, path: Path = ()) -> Mapping:
    """Return `base` with what `later` says; both are expanded already.

    Tags of `later` stay on what they tag, for the file that it may itself be merged into.
    """
    return _mappings(settled_mapping(base), later, path, problems)


def _mappings(base: Mapping, later: Mapping, path: Path, problems: Problems) -> Mapping:
    entries = {entry.key: entry for entry in base.entries}
    for entry in later.entries:
        old = entries.get(entry.key)
        if old is None or entry.tag is not Tag.NONE or is_extension(path, entry.key):
            entries[entry.key] = entry
        else:
            entries[entry.key] = _entries(old, entry, (*path, entry.key), problems)
    return Mapping(base.mark, tuple(entries.values()))


def _entries(base: Entry, later: Entry, path: Path, problems: Problems) -> Entry:
    in_service = path[2:] if path[0] == "services" else ()
    if in_service in _REPLACED:
        return later
    old, new = (_long(one.value, in_service, path, problems) for one in (base, later))
    match old, new:
        case Mapping() | Sequence(), Scalar(kind=Kind.NULL):
            return base
        case Mapping(), Mapping():
            return Entry(later.mark, later.key, _mappings(old, new, path, problems))
        case Sequence(), Sequence():
            return Entry(later.mark, later.key, _lists(old, new, in_service))
        case Mapping() | Sequence(), _:
            place = f"{old.mark.file}:{old.mark.line}"
            problems.add(later.mark, path, f"{shown(new)} cannot replace {shown(old)} from {place}")
            return base
        case _:
            return later


def _long(node: Node, in_service: Path, path: Path, problems: Problems) -> Node:
    """Return a value in the form in which it can be merged."""
    is_text = isinstance(node, Scalar) and node.kind is Kind.TEXT
    if in_service in _PAIRS and isinstance(node, Sequence):
        return _as_mapping(node, path, problems)
    if in_service in _NAMED and isinstance(node, Sequence):
        return _names_as_mapping(node)
    if in_service in _LISTS and is_text:
        return Sequence(node.mark, (node,))
    if in_service in _SHORT and is_text:
        return Mapping(node.mark, (Entry(node.mark, _SHORT[in_service], node),))
    return node


def _lists(old: Sequence, new: Sequence, in_service: Path) -> Sequence:
    """Return both lists, one after the other; what the newer has too goes from the older."""
    key = _KEYS.get(in_service, plain)
    replaced = {key(item) for item in new.items}
    kept = (settled(item) for item in old.items if key(item) not in replaced)
    return Sequence(new.mark, (*kept, *new.items))


def _as_mapping(node: Sequence, path: Path, problems: Problems) -> Node:
    """Return a list of NAME=value as a mapping."""
    entries: dict[str, Entry] = {}
    for n, item in enumerate(node.items):
        if not isinstance(item, Scalar) or item.kind is not Kind.TEXT:
            if not isinstance(item, Scalar) or item.kind is not Kind.BROKEN:
                problems.add(item.mark, (*path, n), f"expected NAME=value, got {shown(item)}")
            continue
        name, equals, value = item.text.partition("=")
        if name in entries:
            what = f"{quoted(name)} is in line {entries[name].mark.line} already"
            problems.add(item.mark, (*path, n), what)
        value_node = Scalar(item.mark, Kind.TEXT if equals else Kind.NULL, value)
        entries[name] = Entry(item.mark, name, value_node)
    return Mapping(node.mark, tuple(entries.values()))


def _names_as_mapping(node: Sequence) -> Node:
    """Return a list of names as a mapping of them to nothing; any other list as it is."""
    entries: dict[str, Entry] = {}
    for item in node.items:
        if not isinstance(item, Scalar) or item.kind is not Kind.TEXT:
            return node
        entries[item.text] = Entry(item.mark, item.text, Scalar(item.mark, Kind.NULL, ""))
    return Mapping(node.mark, tuple(entries.values()))


def _value(node: Mapping, key: str, otherwise: str) -> str:
    entry = node.get(key)
    return entry.value.text if entry and isinstance(entry.value, Scalar) else otherwise


def _port_key(node: Node) -> Hashable:
    """Return address:published:target/protocol of either form: two that say the same are equal."""
    match node:
        case Scalar():
            text, _, protocol = node.text.partition("/")
            return f"{text}/{protocol or 'tcp'}"
        case Mapping():
            found = [_value(node, key, "") for key in ("host_ip", "published", "target")]
            ports = ":".join(value for value in found if value)
            return f"{ports}/{_value(node, 'protocol', 'tcp')}"
        case _:
            return plain(node)


def _second(node: Node) -> Hashable:
    """Return where in the container something of the form source:target[:mode] is."""
    match node:
        case Scalar():
            parts = node.text.split(":")
            return parts[1] if len(parts) > 1 else parts[0]
        case Mapping():
            return _value(node, "target", _value(node, "source", ""))
        case _:
            return plain(node)


def _file_key(node: Node) -> Hashable:
    """Return where in the container a config or a secret is, or its name."""
    match node:
        case Scalar():
            return node.text
        case Mapping():
            return _value(node, "target", _value(node, "source", ""))
        case _:
            return plain(node)


_KEYS: Final[dict[Path, Callable[[Node], Hashable]]] = {
    ("ports",): _port_key,
    ("volumes",): _second,
    ("devices",): _second,
    ("configs",): _file_key,
    ("secrets",): _file_key,
}
