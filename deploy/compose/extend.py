"""`extends`: a service that begins as another one, of the same file or of another.

Pure. The other service is taken as its own file says it, with what it extends itself, and what
stands beside `extends` is merged over it by the rules for several files.
"""

from collections.abc import Callable
from typing import Final

import msgspec

from deploy.compose.errors import Problems, RefusedError
from deploy.compose.fields import Cursor, Field, Table, sound_record, text
from deploy.compose.merge import merge
from deploy.compose.tree import Entry, Mapping, Scalar, quoted, settled_mapping

DEPTH_MAX: Final = 16  # of services that extend services: more is a mistake

# Takes a path and the place that names it; returns that file's services.
Others = Callable[[str, Cursor], Mapping]


class Base(msgspec.Struct, frozen=True):
    """What `extends` names; an empty file is the file itself."""

    service: str = ""
    file: str = ""


def extended(tree: Mapping, file: str, others: Others, problems: Problems) -> Mapping:
    """Return a file's tree in which no service extends another any more."""
    services = tree.get("services")
    if services is None or not isinstance(services.value, Mapping):
        return tree
    resolver = _Resolver(others, problems, {file: services.value})
    found = [_Place(file, entry.key) for entry in services.value.entries]
    entries = tuple(
        Entry(entry.mark, entry.key, resolver.service(place, ()), entry.tag)
        if isinstance(entry.value, Mapping)
        else entry
        for entry, place in zip(services.value.entries, found, strict=True)
    )
    whole = Entry(services.mark, services.key, Mapping(services.value.mark, entries), services.tag)
    return Mapping(tree.mark, tuple(whole if one is services else one for one in tree.entries))


class _Place(msgspec.Struct, frozen=True):
    file: str
    service: str


class _Resolver:
    """Resolves each service once, however many extend it."""

    def __init__(self, others: Others, problems: Problems, files: dict[str, Mapping]) -> None:
        self._others, self._problems, self._files = others, problems, files
        self._done: dict[_Place, Mapping] = {}

    def service(self, place: _Place, chain: tuple[_Place, ...]) -> Mapping:
        """Return a service that is known to be a mapping, with what it extends."""
        if place in self._done:
            return self._done[place]
        entry = self._files[place.file].get(place.service)
        assert entry is not None, "the caller has looked"
        assert isinstance(entry.value, Mapping), "the caller has looked"
        own = Mapping(
            entry.value.mark, tuple(one for one in entry.value.entries if one.key != "extends")
        )
        extends = entry.value.get("extends")
        result = own
        if extends is not None:
            path = ("services", place.service)
            at = Cursor(extends.value, extends.mark, (*path, "extends"), self._problems)
            try:
                base = self._base(at, place, (*chain, place))
            except RefusedError:
                base = own  # the problem is written down: go on, to find others
            result = merge(base, own, self._problems, path)
        self._done[place] = result
        return result

    def _base(self, at: Cursor, place: _Place, chain: tuple[_Place, ...]) -> Mapping:
        wanted = _wanted(at)
        file = wanted.file or place.file
        if file not in self._files:
            self._files[file] = self._others(file, at.below("file"))
        next_ = _Place(file, wanted.service)
        if next_ in chain:
            names = " -> ".join(one.service for one in (*chain[chain.index(next_) :], next_))
            raise at.refuse(f"these extend each other: {names}")
        if len(chain) > DEPTH_MAX:
            raise at.refuse(f"more than {DEPTH_MAX} services extend one another")
        entry = self._files[file].get(wanted.service)
        if entry is None or not isinstance(entry.value, Mapping):
            raise at.refuse(f"there is no service {quoted(wanted.service)} to extend")
        return settled_mapping(self.service(next_, chain))


def _wanted(at: Cursor) -> Base:
    if isinstance(at.node, Scalar):
        return Base(text(at))
    found = sound_record(at, Base(), EXTENDS)
    if not found.service:
        raise at.refuse("service is missing: which one to extend")
    return found


EXTENDS: Final[Table] = {"service": Field("service", text), "file": Field("file", text)}
