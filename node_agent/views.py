"""What an agent reads from etcd, decoded: its manifest, all routes, the other nodes.

A record that cannot be read is never guessed at: the last good one stays in force and the key is a
problem in the node's report.
"""

from collections.abc import Callable, Mapping
from operator import is_not
from typing import Generic, Protocol, TypeVar

import structlog

from shared import codec, keys
from shared.errors import CodecError, HafenError
from shared.model import Manifest, Network, NodeName, NodeSpec, Revision, Routes, StackName
from shared.store import KeyValue
from shared.view import View

_log = structlog.get_logger()


class _Written(Protocol):
    @property
    def revision(self) -> Revision: ...


K = TypeVar("K", bound=str)
T = TypeVar("T")
W = TypeVar("W", bound=_Written)


class LastGood(Generic[K, T]):
    """What records say, by name; of one that cannot be read now, what it said before.

    Args:
        name: what a record is called, by its key.
        read: returns what one says; raises a HafenError where it cannot.

    Attributes:
        refused: by key, why records could not be read when they were asked for last.
    """

    def __init__(self, name: Callable[[str], K], read: Callable[[KeyValue], T]) -> None:
        self._name, self._read = name, read
        self._items: Mapping[str, KeyValue] = {}
        self._known: Mapping[str, tuple[KeyValue, T]] = {}
        self._good: Mapping[K, T] = {}
        self.refused: Mapping[str, HafenError] = {}

    def of(self, items: Mapping[str, KeyValue]) -> Mapping[K, T]:
        """Return what all records say; as long as none says anything else, it is the same object.

        One that cannot be read is tried anew each time: what is in the way may be of this host.
        """
        if items == self._items and not self.refused:
            return self._good  # as almost always
        known: dict[str, tuple[KeyValue, T]] = {}
        refused: dict[str, HafenError] = {}
        for key, item in sorted(items.items()):
            before = self._known.get(key)
            if before is not None and before[0] == item:
                known[key] = before
                continue
            try:
                known[key] = item, self._read(item)
            except HafenError as error:
                refused[key] = error
                if before is not None:
                    known[key] = before
        if known != self._known:
            self._good = {self._name(key): value for key, (_, value) in known.items()}
        self._items, self._known, self.refused = dict(items), known, refused
        return self._good


class Basis:
    """What something was found from, to find it anew only when that is something else."""

    def __init__(self) -> None:
        self._of: tuple[object, ...] = ()

    def is_new(self, *of: object) -> bool:
        """Say whether any of these is another object than it was the time before."""
        before, self._of = self._of, of
        return len(before) != len(of) or any(map(is_not, before, of))


class Complaints:
    """Says once of each record that cannot be read that it cannot, not at every look."""

    def __init__(self) -> None:
        self._known: dict[str, Revision] = {}

    def say(self, item: KeyValue, error: HafenError) -> None:
        """Say it, unless that was said of the record as it is."""
        if self._known.get(item.key) != item.mod_revision:
            _log.error("unreadable_record", key=item.key, reason=str(error))
        self._known[item.key] = item.mod_revision


def not_shown(ours: Mapping[str, W], view: View) -> dict[str, W]:
    """Return what we wrote and the view does not show yet."""
    return {key: one for key, one in ours.items() if one.revision > view.revision}


class Kept(Generic[T]):
    """What follows from one of the ranges in shared.keys: found anew when something in it changes.

    Args:
        view: what has the range.
        name: the range's.
        find: returns it, by what the range holds.
    """

    def __init__(self, view: View, name: str, find: Callable[[Mapping[str, KeyValue]], T]) -> None:
        self._view, self._name, self._find = view, name, find
        self._stamp = view.stamp(name)
        self._found = find(view.range(name))

    def now(self) -> T:
        """Return it; as long as nothing has changed, the same object."""
        stamp = self._view.stamp(self._name)
        if stamp != self._stamp:
            self._found, self._stamp = self._find(self._view.range(self._name)), stamp
        return self._found


class ManifestView:
    """This node's manifest: etcd's if it has one, else the one that was in force last."""

    def __init__(self, view: View, node: NodeName, last: Manifest | None) -> None:
        self._view, self._key, self._last = view, keys.desired(node), last
        self._read: KeyValue | None = None
        self.problem = ""

    @property
    def is_current(self) -> bool:
        """Say whether etcd was read since this agent began."""
        return bool(self._view.revision)

    @property
    def revision(self) -> Revision:
        """Return the mod_revision of etcd's manifest for this node, 0 while none was read."""
        item = self._view.items.get(self._key)
        return item.mod_revision if item is not None else Revision(0)

    def read(self) -> Manifest | None:
        """Return the manifest to obey; None: nobody ever gave this node one.

        As long as the record is the same, the manifest is the same object.
        """
        item = self._view.items.get(self._key)
        if item is not None and item is self._read:
            return self._last
        self._read, self.problem = item, ""
        if item is None:
            if self._view.revision and self._last is not None and self._last.assignments:
                # The leader writes an empty manifest, it never deletes one: etcd lost its data.
                self.problem = "etcd has no manifest for this node any more: what ran last is kept"
            return self._last
        try:
            self._last = codec.decode(Manifest, item.value, item.key)
        except CodecError as error:
            self.problem = f"{error}; the manifest before is kept"
        return self._last


class RoutesView:
    """Every stack's routes with the revision they have."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._good = LastGood(lambda key: StackName(key.removeprefix(keys.ROUTES)), _routes)

    @property
    def problems(self) -> tuple[str, ...]:
        """Return what could not be read when it was read last."""
        return tuple(f"{why}; the routes before are kept" for why in self._good.refused.values())

    def read(self) -> Mapping[StackName, tuple[Revision, Routes]] | None:
        """Return the routes to serve; None: etcd was not read yet, leave the gateway as it is.

        As long as no stack's are others, it is the same object, and so are those of each stack:
        whoever has found what follows from them may go by that.
        """
        return self._good.of(self._view.items) if self._view.revision else None


def _routes(item: KeyValue) -> tuple[Revision, Routes]:
    return item.mod_revision, codec.decode(Routes, item.value, item.key)


def present_nodes(view: View) -> frozenset[NodeName]:
    """Return the nodes that have a session."""
    return frozenset(
        NodeName(key.removeprefix(keys.NODES).removesuffix("/alive"))
        for key in view.items
        if key.endswith("/alive")
    )


def node_specs(items: Mapping[str, KeyValue]) -> tuple[NodeSpec, ...]:
    """Return every node of the cluster whose spec can be read, by name."""
    specs = []
    for key, item in sorted(items.items()):
        if not key.endswith("/spec"):
            continue
        # The scheduler complains of one that is not; its route stays as it is in the kernel.
        if (spec := codec.readable(NodeSpec, item.value, key)) is not None:
            specs.append(spec)
    return tuple(specs)


def other_networks(items: Mapping[str, KeyValue]) -> tuple[Network, ...]:
    """Return every network that no stack makes and whose record can be read, by name."""
    # Containers on one that cannot be read have no way out until somebody mends the record.
    found = (codec.readable(Network, item.value, key) for key, item in sorted(items.items()))
    return tuple(network for network in found if network is not None)
