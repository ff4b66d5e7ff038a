"""Manifests while a plan is being made.

Pure. A draft belongs to one decision, and only its writes leave it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from scheduler.addresses import Addresses, needs_address, resting
from scheduler.plan import Write
from scheduler.world import World
from shared import keys
from shared.model import AllocId, Assignment, Manifest, NodeName, Want, Workload


class Draft:
    """What every node will hold, with the reason for each change."""

    def __init__(self, world: World) -> None:
        self.assignments = {name: list(node.assignments) for name, node in world.nodes.items()}
        self._world = world
        self._reasons: dict[NodeName, list[str]] = defaultdict(list)
        self._home = {a.id: name for name, held in self.assignments.items() for a in held}
        self._addresses: dict[NodeName, Addresses] = {}

    @property
    def is_touched(self) -> bool:
        """Say whether any node holds anything else than what is written."""
        return bool(self._reasons)

    def drop(self, id_: AllocId, reason: str) -> None:
        """Take an allocation out, if it is there."""
        node = self._home.pop(id_, None)
        if node is None:
            return
        self.assignments[node] = [a for a in self.assignments[node] if a.id != id_]
        self._reasons[node].append(f"{id_} leaves: {reason}")

    def drain(self, id_: AllocId, reason: str) -> None:
        """Let an allocation run, and send it nothing new."""
        self._replace(id_, want=Want.DRAIN)
        self._reasons[self._home[id_]].append(f"{id_} drains: {reason}")

    def activate(self, id_: AllocId, slot: int, reason: str) -> NodeName:
        """Let a standby run in a slot; return its node."""
        self._replace(id_, want=Want.RUN, slot=slot)
        self._reasons[self._home[id_]].append(f"{id_} takes slot {slot}: {reason}")
        return self._home[id_]

    def addresses(self, node: NodeName) -> Addresses:
        """Return what a node has to give to new containers."""
        found = self._addresses.get(node)
        if found is None:
            found = Addresses(self._world.nodes[node], self.assignments[node])
            self._addresses[node] = found
        return found

    def follow(self, id_: AllocId, workload: Workload) -> None:
        """Let an allocation have another workload, for which its container is as good."""
        self._replace(id_, workload=workload)
        self._reasons[self._home[id_]].append(f"{id_} stays, and its service has changed")

    def add(self, node: NodeName, assignment: Assignment, reason: str) -> None:
        """Give a node a new allocation, and that an address."""
        if needs_address(assignment.workload):
            address = self.addresses(node).give()
            assignment = msgspec.structs.replace(assignment, address=address)
        self.assignments[node].append(assignment)
        self._home[assignment.id] = node
        self._reasons[node].append(f"{assignment.id} comes: {reason}")

    def _replace(self, id_: AllocId, **fields: Want | int | Workload) -> None:
        node = self._home[id_]
        self.assignments[node] = [
            msgspec.structs.replace(a, **fields) if a.id == id_ else a
            for a in self.assignments[node]
        ]

    def writes(
        self,
        images: Mapping[NodeName, tuple[str, ...]],
        leaving: Mapping[NodeName, tuple[str, ...]],
    ) -> Iterable[Write]:
        """Return the manifests that differ from what is written.

        Args:
            images: to have ready, by node.
            leaving: volumes to remove the data of, by node.
        """
        for name, node in self._world.nodes.items():
            before = node.manifest
            after = Manifest(
                node=name,
                generation=before.generation + 1 if before is not None else 1,
                assignments=tuple(sorted(self.assignments[name], key=lambda a: a.id)),
                images=images.get(name, ()),
                leaving_volumes=leaving.get(name, ()),
                last_address=self._last_address(name, before),
            )
            # A node without a manifest gets an empty one: absent means that etcd lost it, not "run
            # nothing".
            if before is not None and _asks_alike(before, after):
                continue
            rests = resting(node, after.assignments)
            yield Write(
                key=keys.desired(name),
                record=msgspec.structs.replace(after, resting=rests),
                decided_at=node.manifest_revision,
                reasons=tuple(self._reasons[name]),
            )

    def _last_address(self, name: NodeName, before: Manifest | None) -> str:
        given = self._addresses.get(name)
        if given is not None:
            return given.last
        return before.last_address if before is not None else ""


def _asks_alike(one: Manifest, other: Manifest) -> bool:
    """Say whether two manifests ask the same of a node; what rests is tidied with the next one."""
    return msgspec.structs.replace(one, generation=other.generation, resting={}) == other
