"""Several Compose files -> one tree, by Compose's rules.

Pure. A later file adds to an earlier one: mappings key by key, lists by appending, single values by
replacing. Exceptions: command lines are replaced whole, names with values are one mapping whichever
way they are written, and a port replaces the same port.
"""

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
    is_extension,
    quoted,
    shown,
)

_REPLACED: Final = {("command",), ("entrypoint",), ("healthcheck", "test")}
_PAIRS: Final = {("environment",), ("labels",)}
_PORTS: Final = ("ports",)


def merge(base: Mapping, later: Mapping, problems: Problems) -> Mapping:
    """Return `base` with what `later` says; both are expanded already."""
    return _mappings(base, later, (), problems)


def _mappings(base: Mapping, later: Mapping, path: Path, problems: Problems) -> Mapping:
    entries = {entry.key: entry for entry in base.entries}
    for entry in later.entries:
        old = entries.get(entry.key)
        if old is None or is_extension(path, entry.key):
            entries[entry.key] = entry
        else:
            entries[entry.key] = _entries(old, entry, (*path, entry.key), problems)
    return Mapping(base.mark, tuple(entries.values()))


def _entries(base: Entry, later: Entry, path: Path, problems: Problems) -> Entry:
    in_service = path[2:] if path[0] == "services" else ()
    if in_service in _REPLACED:
        return later
    old, new = base.value, later.value
    if in_service in _PAIRS:
        old, new = (_as_mapping(node, path, problems) for node in (old, new))
    elif in_service == _PORTS:
        old = _other_ports(old, new)
    match old, new:
        case Mapping() | Sequence(), Scalar(kind=Kind.NULL):
            return base
        case Mapping(), Mapping():
            return Entry(later.mark, later.key, _mappings(old, new, path, problems))
        case Sequence(), Sequence():
            return Entry(later.mark, later.key, Sequence(new.mark, (*old.items, *new.items)))
        case Mapping() | Sequence(), _:
            place = f"{old.mark.file}:{old.mark.line}"
            problems.add(later.mark, path, f"{shown(new)} cannot replace {shown(old)} from {place}")
            return base
        case _:
            return later


def _as_mapping(node: Node, path: Path, problems: Problems) -> Node:
    """Return a list of NAME=value as a mapping; anything else as it is."""
    if not isinstance(node, Sequence):
        return node
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


def _other_ports(old: Node, new: Node) -> Node:
    """Return the older list without the ports that the newer one has too."""
    if not isinstance(old, Sequence) or not isinstance(new, Sequence):
        return old
    replaced = {_port_key(item) for item in new.items}
    kept = (item for item in old.items if _port_key(item) not in replaced)
    return Sequence(old.mark, tuple(kept))


def _port_key(node: Node) -> str:
    """Return published:target of either form, enough to see that two say the same."""
    match node:
        case Scalar():
            return node.text.removesuffix("/tcp")
        case Mapping():
            found = [node.get(key) for key in ("published", "target")]
            values = [entry.value if entry else None for entry in found]
            return ":".join(value.text if isinstance(value, Scalar) else "?" for value in values)
        case _:
            return ""
