"""Where the slots of a service are bound to be: the nodes of a global one, the data of its volumes.

Pure. A global service has a slot for every node that may run it; the number stays with the node as
long as anything of the service is there.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from scheduler.allocs import Alloc, SlotPlan
from scheduler.nodes import Judged, Verdict
from scheduler.world import ServiceId, World
from shared.labels import meets
from shared.model import (
    AllocId,
    Availability,
    MountKind,
    NodeName,
    ServiceName,
    ServiceSpec,
    StackName,
    Volume,
    Want,
    Workload,
)

_ID_PARTS: Final = 4  # <stack>.<service>.<slot>.<suffix>


class Homes(msgspec.Struct, frozen=True, kw_only=True):
    """The nodes of a service's slots.

    Attributes:
        slots: the node of each slot; None: slots are numbers, on any node.
        closed: of those nodes, the ones that take nothing new, with why.
    """

    slots: Mapping[int, NodeName] | None = None
    closed: Mapping[NodeName, str] = {}

    @property
    def shut(self) -> frozenset[int]:
        """Return the slots whose node takes nothing new: nobody waits for them."""
        return frozenset(slot for slot, node in (self.slots or {}).items() if node in self.closed)

    def pinned(self, plans: Mapping[int, SlotPlan]) -> Mapping[int, SlotPlan]:
        """Return the plans of a global job, each for its node."""
        if self.slots is None:
            return plans
        return {
            slot: msgspec.structs.replace(plan, node=self.slots[slot])
            for slot, plan in plans.items()
            if slot not in self.shut
        }


def of_service(world: World, judged: Judged, spec: ServiceSpec, own: Sequence[Alloc]) -> Homes:
    """Return where a version's slots are."""
    if not spec.mode.is_global:
        return Homes()
    used: dict[NodeName, int] = {}
    for alloc in own:
        if alloc.assignment.want is Want.RUN and alloc.assignment.slot not in used.values():
            used.setdefault(alloc.node, alloc.assignment.slot)
    nodes = [
        name
        for name, node in world.nodes.items()
        if node.report is not None
        and judged.verdicts[name] is not Verdict.LOST
        and node.spec.availability is not Availability.DRAINING
        and meets(node.spec, spec.placement.constraints)
        and (name in used or judged.verdicts[name] in _OPEN)
    ]
    taken = {used[name] for name in nodes if name in used}
    free = (slot for slot in range(1, len(nodes) + len(taken) + 1) if slot not in taken)
    slots = {used[name] if name in used else next(free): name for name in nodes}
    closed = {
        name: f"{name} is {judged.verdicts[name]}"
        for name in nodes
        if judged.verdicts[name] not in _OPEN
    }
    return Homes(slots=slots, closed=closed)


# A node that is doubted for a moment still has its slot; placement waits until it is not.
_OPEN: Final = frozenset({Verdict.READY, Verdict.PROBATION, Verdict.SUSPECT})


def volumes_of(spec: ServiceSpec) -> tuple[str, ...]:
    """Return the named volumes whose data a copy must find; a global service has one a node."""
    return () if spec.mode.is_global else named_volumes(spec.workload)


def named_volumes(workload: Workload) -> tuple[str, ...]:
    """Return the named volumes that a container mounts, sorted."""
    mounts = workload.mounts
    found = {mount.source for mount in mounts if mount.kind is MountKind.VOLUME and mount.source}
    return tuple(sorted(found))


def data_of(world: World, name: str) -> tuple[NodeName, ...]:
    """Return the nodes that have the data of a volume: the record says which.

    Without one, as in an etcd that comes from an old backup, it is every node that reports data of
    that name, given up or not: the data of a lost node is not replaced by an empty folder. More
    than one: nobody knows which is right.
    """
    state = world.volumes.get(name)
    return (state.volume.node,) if state is not None else reporters(world, name)


def reporters(world: World, name: str) -> tuple[NodeName, ...]:
    """Return the nodes that report data of that name, but for the one that a person gave up.

    None does of what a global service mounts: there each node has data of its own.
    """
    if any(spec.mode.is_global and name in named_volumes(spec.workload) for spec in _specs(world)):
        return ()
    removal = world.removals.get(name)
    given_up = removal.removal.given_up if removal is not None else ""
    return tuple(
        node
        for node, state in sorted(world.nodes.items())
        if state.report is not None and name in state.report.volumes and node != given_up
    )


def _specs(world: World) -> Iterable[ServiceSpec]:
    return (spec for state in world.stacks.values() for spec in state.stack.services)


def homes_of(world: World, names: Iterable[str]) -> Mapping[str, NodeName]:
    """Return the node of each volume that has data on exactly one that counts."""
    found = {name: data_of(world, name) for name in names}
    return {name: nodes[0] for name, nodes in found.items() if len(nodes) == 1}


def of_volumes(world: World, spec: ServiceSpec) -> AbstractSet[NodeName]:
    """Return the nodes that have the data of a version's volumes."""
    return set(homes_of(world, volumes_of(spec)).values())


def new_volumes(
    world: World, bound: Iterable[tuple[StackName, ServiceSpec, NodeName]]
) -> Iterable[Volume]:
    """Return the volumes that come to be with what has just been placed."""
    found: dict[str, Volume] = {}
    for stack, spec, node in bound:
        for name in volumes_of(spec):
            if name not in world.volumes:
                found.setdefault(name, Volume(name=name, node=node, stack=stack))
    return found.values()


def leaving(world: World, judged: Judged) -> Mapping[ServiceId, frozenset[int]]:
    """Return the slots of which a node still stops something that no manifest has any more."""
    found: dict[ServiceId, set[int]] = defaultdict(set)
    for name, node in world.nodes.items():
        if node.report is None or judged.verdicts[name].is_given_up:
            continue
        assigned = {assignment.id for assignment in node.assignments}
        for status in node.report.allocations:
            slot = _slot_of(status.id)
            if status.id not in assigned and slot is not None:
                found[slot[0]].add(slot[1])
    return {key: frozenset(slots) for key, slots in found.items()}


def _slot_of(id_: AllocId) -> tuple[ServiceId, int] | None:
    parts = id_.split(".")
    if len(parts) != _ID_PARTS or not parts[2].isdecimal():
        return None
    return (StackName(parts[0]), ServiceName(parts[1])), int(parts[2])
