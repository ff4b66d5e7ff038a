"""Relative paths of a Compose file -> absolute ones, before files are put together.

Pure. A path means what it means in the file that says it: the project's folder for the files that
were named, a file's own folder for one that is extended. Whether a path exists is not asked here.
"""

import posixpath
from collections.abc import Callable

import msgspec

from deploy.compose.tree import Entry, Kind, Mapping, Node, Scalar, Sequence

Change = Callable[[Node], Node]


class Base(msgspec.Struct, frozen=True):
    """Where relative paths begin; `home` is what ~ stands for, empty where nobody knows."""

    folder: str
    home: str = ""

    def join(self, path: str) -> str:
        """Return an absolute path without . and .. in it."""
        if self.home and (path == "~" or path.startswith("~/")):
            path = self.home + path[1:]
        return posixpath.normpath(posixpath.join(self.folder, path))


def absolute(tree: Mapping, base: Base) -> Mapping:
    """Return a file's tree with every path of this computer absolute."""
    join = _text(base.join)
    top: dict[str, Change] = {
        "services": _values(_keys(_service(base))),
        "configs": _values(_keys({"file": join})),
        "secrets": _values(_keys({"file": join})),
    }
    return _mapping(tree, top)


def is_remote(path: str) -> bool:
    """Say whether a build's context or another file is not on this computer."""
    return "://" in path or path.startswith(("git@", "github.com/"))


def _service(base: Base) -> dict[str, Change]:
    join = _text(base.join)
    context = _text(lambda path: path if is_remote(path) else base.join(path))
    return {
        "volumes": _items(lambda node: _volume(node, base)),
        "env_file": _either(join, _items(_either(join, _keys({"path": join})))),
        "label_file": _either(join, _items(join)),
        "extends": _keys({"file": join}),
        "build": _either(context, _keys({"context": context})),
    }


def _volume(node: Node, base: Base) -> Node:
    if isinstance(node, Scalar):
        source, colon, rest = node.text.partition(":")
        if not colon or not source.startswith((".", "~", "/")):
            return node
        return Scalar(node.mark, node.kind, f"{base.join(source)}:{rest}")
    if not isinstance(node, Mapping):
        return node
    kind = node.get("type")
    is_bind = kind is not None and isinstance(kind.value, Scalar) and kind.value.text == "bind"
    return _mapping(node, {"source": _text(base.join)}) if is_bind else node


def _text(change: Callable[[str], str]) -> Change:
    def changed(node: Node) -> Node:
        if not isinstance(node, Scalar) or node.kind is not Kind.TEXT or not node.text:
            return node
        return Scalar(node.mark, node.kind, change(node.text))

    return changed


def _items(change: Change) -> Change:
    def changed(node: Node) -> Node:
        if not isinstance(node, Sequence):
            return node
        return Sequence(node.mark, tuple(change(item) for item in node.items))

    return changed


def _values(change: Change) -> Change:
    def changed(node: Node) -> Node:
        if not isinstance(node, Mapping):
            return node
        return _mapping(node, {entry.key: change for entry in node.entries})

    return changed


def _keys(changes: dict[str, Change]) -> Change:
    return lambda node: _mapping(node, changes) if isinstance(node, Mapping) else node


def _either(single: Change, other: Change) -> Change:
    return lambda node: single(node) if isinstance(node, Scalar) else other(node)


def _mapping(node: Mapping, changes: dict[str, Change]) -> Mapping:
    entries = (
        Entry(one.mark, one.key, changes[one.key](one.value), one.tag)
        if one.key in changes
        else one
        for one in node.entries
    )
    return Mapping(node.mark, tuple(entries))
