"""All files of a project -> one tree: what they include and extend is in it, tags are gone.

Pure. Each file is expanded with its project's variables, its paths made absolute, its includes
copied in, its extensions resolved; then it is merged over the files before it.
"""

import contextlib
import posixpath
from collections.abc import Mapping as Lookup
from collections.abc import Sequence as List
from typing import Final

import msgspec

from deploy.compose import dotenv
from deploy.compose.errors import Problems, RefusedError
from deploy.compose.extend import extended
from deploy.compose.fields import Cursor, Field, Table, each, items, one_or_more, sound_record, text
from deploy.compose.interpolate import Expander, ExpandError, expand
from deploy.compose.library import Library
from deploy.compose.merge import merge
from deploy.compose.paths import Base, absolute, is_remote
from deploy.compose.read import NODES_MAX, parse
from deploy.compose.tree import (
    Entry,
    Mapping,
    Mark,
    Node,
    Scalar,
    Sequence,
    plain,
    settled_mapping,
)
from shared.errors import SpecError

INCLUDE_DEPTH_MAX: Final = 16  # of files that include files: more is a mistake
# Counted each time: files that all include all others would be put together in every order.
INCLUDES_MAX: Final = 100

_RESOURCES: Final = ("services", "networks", "volumes", "configs", "secrets", "models")


class Project(msgspec.Struct, frozen=True):
    """Files that are one project, and what their paths and variables mean.

    Attributes:
        folder: absolute; where relative paths of its files begin.
        variables: for `${...}`.
        chain: the files that are being included, outermost first.
    """

    folder: str
    variables: Lookup[str, str]
    chain: tuple[str, ...] = ()


class Include(msgspec.Struct, frozen=True):
    """One item of `include`."""

    path: tuple[str, ...] = ()
    project_directory: str = ""
    env_file: tuple[str, ...] | None = None


class Assembler:
    """Puts projects together; one use."""

    def __init__(self, library: Library, problems: Problems) -> None:
        self._library, self._problems = library, problems
        self._parsed: dict[tuple[str, bytes], Mapping] = {}
        self._includes = 0

    def project(self, files: List[tuple[str, bytes]], project: Project) -> Mapping:
        """Return the tree of a project.

        Args:
            files: absolute path and content, at least one.
            project: what they mean.

        Raises:
            SpecError: a file is no YAML, or all of it is too much.
        """
        tree: Mapping | None = None
        for path, content in files:
            later = self._file(path, content, project)
            tree = later if tree is None else merge(tree, later, self._problems)
        assert tree is not None, "there is at least one file"
        return settled_mapping(tree)

    def name(self, files: List[tuple[str, bytes]], variables: Lookup[str, str]) -> str:
        """Return the name that files give their project, the last one's; empty: none that is text.

        Names are read before everything else: variables may stand for what they say.
        """
        found = ""
        for path, content in files:
            entry = self._parse(path, content).get("name")
            if entry is not None and isinstance(entry.value, Scalar):
                with contextlib.suppress(ExpandError):
                    found = expand(entry.value.text, variables)
        return found

    def _file(self, path: str, content: bytes, project: Project) -> Mapping:
        tree = self._read(path, content, project.folder, project.variables)
        tree = self._included(tree, path, project)

        def others(file: str, at: Cursor) -> Mapping:
            return self._services_of(file, at, project)

        return extended(tree, path, others, self._problems)

    def _read(self, path: str, content: bytes, folder: str, variables: Lookup[str, str]) -> Mapping:
        tree = Expander(variables, self._problems).mapping(self._parse(path, content))
        return absolute(tree, Base(folder, variables.get("HOME", "")))

    def _parse(self, path: str, content: bytes) -> Mapping:
        shown = self._library.shown(path)
        order = self._library.order(shown)
        if (path, content) not in self._parsed:
            self._parsed[path, content] = parse(content, shown, order, self._problems)
        return self._parsed[path, content]

    def _services_of(self, file: str, at: Cursor, project: Project) -> Mapping:
        """Return the services of a file that is extended."""
        content = self._library.read(file, at.mark, at.path)
        tree = self._read(file, content, posixpath.dirname(file), project.variables)
        services = tree.get("services")
        if services is None or not isinstance(services.value, Mapping):
            raise at.refuse("there are no services in this file")
        return services.value

    def _included(self, tree: Mapping, path: str, project: Project) -> Mapping:
        include = tree.get("include")
        if include is None:
            return tree
        rest = Mapping(tree.mark, tuple(one for one in tree.entries if one is not include))
        at = Cursor(include.value, include.mark, ("include",), self._problems)
        inner = Project(project.folder, project.variables, (*project.chain, path))
        try:
            children = items(at)
        except RefusedError:
            return rest
        for child, found in each(children, lambda child: (child, self._one(child, inner))):
            rest = _imported(rest, found, child)
        return rest

    def _one(self, at: Cursor, outer: Project) -> Mapping:
        """Return the tree of one included project."""
        wanted = Include((text(at),)) if isinstance(at.node, Scalar) else _wanted(at)
        self._includes += 1
        if self._includes > INCLUDES_MAX:
            raise at.refuse(f"files include files more than {INCLUDES_MAX} times")
        if len(outer.chain) > INCLUDE_DEPTH_MAX:
            raise at.refuse(f"files include files more than {INCLUDE_DEPTH_MAX} deep")
        base = Base(outer.folder, outer.variables.get("HOME", ""))
        if any(is_remote(path) for path in wanted.path):
            raise at.refuse("hafen includes files of this computer only; fetch it first")
        paths = [base.join(path) for path in wanted.path]
        again = next((path for path in paths if path in outer.chain), "")
        if again:
            raise at.refuse(f"{self._library.shown(again)} includes itself")
        folder = posixpath.dirname(paths[0])
        if wanted.project_directory:
            folder = base.join(wanted.project_directory)
        files = [(path, self._library.read(path, at.mark, at.path)) for path in paths]
        variables = self._variables(wanted, base, folder, outer.variables, at)
        return self.project(files, Project(folder, variables, outer.chain))

    def _variables(
        self,
        wanted: Include,
        base: Base,
        folder: str,
        outer: Lookup[str, str],
        at: Cursor,
    ) -> Lookup[str, str]:
        """Return the variables of an included project; those of the including one win."""
        found = outer
        if wanted.env_file is None:
            path = posixpath.join(folder, ".env")
            if not self._library.has(path):
                return found
            paths = [path]
        else:
            # The last one wins, and what is known already is not changed.
            paths = [base.join(path) for path in reversed(wanted.env_file)]
        for path in paths:
            content = self._library.text(path, at.mark, at.path)
            found = dotenv.parse(content, self._library.shown(path), found, self._problems)
        return found


def _wanted(at: Cursor) -> Include:
    found = sound_record(at, Include(), INCLUDE)
    if not found.path:
        raise at.refuse("path is missing: which file to include")
    return found


def _imported(tree: Mapping, found: Mapping, at: Cursor) -> Mapping:
    """Return the tree with an included project's services, volumes, ... in it."""
    entries = {entry.key: entry for entry in tree.entries}
    for kind in _RESOURCES:
        new = found.get(kind)
        if new is None or not isinstance(new.value, Mapping):
            continue
        old = entries.get(kind)
        known = old.value if old and isinstance(old.value, Mapping) else Mapping(new.mark, ())
        entries[kind] = Entry(at.mark, kind, _united(known, new.value, kind, at))
    return Mapping(tree.mark, tuple(entries.values()))


def _united(old: Mapping, new: Mapping, kind: str, at: Cursor) -> Mapping:
    known = {entry.key: entry for entry in old.entries}
    for entry in new.entries:
        there = known.setdefault(entry.key, entry)
        if there is not entry and plain(there.value) != plain(entry.value):
            place = f"{there.mark.file}:{there.mark.line}"
            at.refuse(f"{kind}.{entry.key} is in {place} already, and says something else")
    return Mapping(old.mark, tuple(known.values()))


def check_size(tree: Mapping) -> None:
    """Refuse a tree that extensions have made too large to be looked at.

    Raises:
        SpecError: it has more values than a single file may have.
    """
    if _size(tree, {}) > NODES_MAX:
        mark: Mark = tree.mark
        raise SpecError(
            f"{mark.file}:{mark.line}: more than {NODES_MAX} values with all that is extended"
        )


def _size(node: Node, known: dict[int, int]) -> int:
    """Return how many values a tree has, shared ones counted each time, but looked at once."""
    if id(node) not in known:
        inner: List[Node] = ()
        if isinstance(node, Sequence):
            inner = node.items
        elif isinstance(node, Mapping):
            inner = [entry.value for entry in node.entries]
        known[id(node)] = 1 + sum(_size(one, known) for one in inner)
    return known[id(node)]


def _paths(at: Cursor) -> tuple[str, ...]:
    return each(one_or_more(at), text)


INCLUDE: Final[Table] = {
    "path": Field("path", _paths),
    "project_directory": Field("project_directory", text),
    "env_file": Field("env_file", _paths),
}
