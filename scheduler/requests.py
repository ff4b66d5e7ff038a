"""What placement is asked: the slots that need a node, and the nodes that there are.

Pure.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from scheduler.addresses import needs_address
from scheduler.allocs import Asked
from scheduler.candidates import candidate, document_bytes
from scheduler.changes import Wanted
from scheduler.draft import Draft
from scheduler.fit import Candidate, Request
from scheduler.homes import volumes_of
from scheduler.nodes import Judged
from scheduler.removals import why_blocked
from scheduler.world import ServiceId, World
from shared.model import Assignment, Availability, NodeName, ServiceSpec, Want, runs_alike
from shared.ports import host_ports

Running = Sequence[tuple[NodeName, Assignment]]


def nodes_of(world: World, judged: Judged, draft: Draft) -> Sequence[Candidate]:
    """Return the nodes as placement sees them once the draft is written."""
    found = (
        candidate(
            node,
            draft.assignments[name],
            draft.addresses(name).free,
            judged.verdicts[name],
            judged.reasons.get(name),
        )
        for name, node in world.nodes.items()
    )
    return [node for node in found if node is not None]


def running_of(
    held: Mapping[NodeName, Iterable[Assignment]], keys: AbstractSet[ServiceId]
) -> Mapping[ServiceId, Running]:
    """Return the copies of these services, with their nodes."""
    found: dict[ServiceId, list[tuple[NodeName, Assignment]]] = {key: [] for key in keys}
    for node, assignments in held.items():
        for one in assignments:
            if one.want is Want.RUN and (one.stack, one.service) in keys:
                found[one.stack, one.service].append((node, one))
    return found


def leaving_of(world: World, running: Running, spec: ServiceSpec) -> Mapping[NodeName, int]:
    """Return how many copies each node has that go: of another version, or from a drained node."""
    return Counter(
        node
        for node, one in running
        if world.nodes[node].spec.availability is Availability.DRAINING
        or not runs_alike(one.workload, spec.workload)
    )


def request_of(
    world: World, asked: Asked, wanted: Wanted, leaving: Mapping[NodeName, int]
) -> Request:
    """Return one slot that needs a node."""
    workload = wanted.spec.workload
    return Request(
        service=(asked.stack, asked.service),
        slot=wanted.slot,
        needs=workload.reservations,
        document_bytes=document_bytes(workload),
        placement=wanted.spec.placement,
        avoid=wanted.avoid,
        barred=wanted.barred,
        node=wanted.node,
        volumes=volumes_of(wanted.spec),
        leaving=leaving,
        blocked=why_blocked(world, wanted.spec),
        image=workload.image if wanted.is_urgent else "",
        needs_address=needs_address(workload),
        ports=host_ports(workload),
    )
