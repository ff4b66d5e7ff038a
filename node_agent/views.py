"""What an agent reads from etcd, decoded: its manifest, all routes, the other nodes.

A record that cannot be read is never guessed at: the last good one stays in force and the key is a
problem in the node's report.
"""

from collections.abc import Mapping

from shared import codec, keys
from shared.errors import CodecError
from shared.mirror import View
from shared.model import Manifest, Network, NodeName, NodeSpec, Revision, Routes, StackName
from shared.store import KeyValue


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
        self._good: dict[StackName, tuple[Revision, Routes]] = {}
        self._is_read = False
        self.problems: tuple[str, ...] = ()

    def read(self) -> Mapping[StackName, tuple[Revision, Routes]] | None:
        """Return the routes to serve; None: etcd was not read yet, leave the gateway as it is.

        As long as no stack's are others, it is the same object, and so are those of each stack:
        whoever has found what follows from them may go by that.
        """
        if not self._view.revision:
            return None
        problems: list[str] = []
        found: dict[StackName, tuple[Revision, Routes]] = {}
        for key, item in sorted(self._view.items.items()):
            stack = StackName(key.removeprefix(keys.ROUTES))
            known = self._good.get(stack)
            if known is not None and known[0] == item.mod_revision:
                found[stack] = known
                continue
            try:
                found[stack] = (item.mod_revision, codec.decode(Routes, item.value, key))
            except CodecError as error:
                problems.append(f"{error}; the routes before are kept")
                if known is not None:
                    found[stack] = known
        self.problems = tuple(problems)
        if found != self._good or not self._is_read:
            self._good, self._is_read = found, True
        return self._good


def present_nodes(view: View) -> frozenset[NodeName]:
    """Return the nodes that have a session."""
    return frozenset(
        NodeName(key.removeprefix(keys.NODES).removesuffix("/alive"))
        for key in view.items
        if key.endswith("/alive")
    )


def node_specs(view: View) -> tuple[NodeSpec, ...]:
    """Return every node of the cluster whose spec can be read, by name."""
    specs = []
    for key, item in sorted(view.items.items()):
        if not key.endswith("/spec"):
            continue
        try:
            specs.append(codec.decode(NodeSpec, item.value, key))
        except CodecError:
            continue  # The scheduler complains of it; its route stays as it is in the kernel.
    return tuple(specs)


def other_networks(view: View) -> tuple[Network, ...]:
    """Return every network that no stack makes and whose record can be read, by name."""
    found = []
    for key, item in sorted(view.items.items()):
        try:
            found.append(codec.decode(Network, item.value, key))
        except CodecError:
            continue  # Containers on it have no way out until somebody mends the record.
    return tuple(found)
