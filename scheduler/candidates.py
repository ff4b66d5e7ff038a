"""Nodes as placement sees them.

Pure.
"""

from collections.abc import Sequence
from typing import Final

from scheduler.fit import Candidate, minus
from scheduler.nodes import Verdict
from scheduler.ports import taken_ports
from scheduler.world import NodeState
from shared import codec
from shared.model import Assignment, Want, Workload
from shared.states import AllocState

# What an assignment has besides its workload, generously: ids, names, numbers.
_ASSIGNMENT_BYTES: Final = 512


def candidate(
    node: NodeState,
    held: Sequence[Assignment],
    addresses: int,
    verdict: Verdict,
    reason: str | None,
) -> Candidate | None:
    """Return `node` as placement sees it.

    None if it is not there to be asked, or while nobody knows what it has. An allocation that has
    failed or completed runs no more: it is there only to be remembered, and takes nothing.

    Args:
        node: the node.
        held: what it will hold, by its manifest.
        addresses: how many it has left for new containers.
        verdict: what it is held for.
        reason: of the verdict.
    """
    if node.report is None or not verdict.is_sound:
        return None
    over = {AllocState.FAILED, AllocState.COMPLETE}
    ended = {status.id for status in node.report.allocations if status.state in over}
    free = node.report.capacity
    replicas: dict[tuple[str, str], int] = {}
    images = set(node.report.images)
    for assignment in held:
        if assignment.id in ended:
            continue
        free = minus(free, assignment.workload.reservations)
        images.add(assignment.workload.image)
        if assignment.want is Want.RUN:
            key = (str(assignment.stack), str(assignment.service))
            replicas[key] = replicas.get(key, 0) + 1
    return Candidate(
        spec=node.spec,
        capacity=node.report.capacity,
        free=free,
        document_bytes=sum(document_bytes(assignment.workload) for assignment in held),
        replicas=replicas,
        images=frozenset(images),
        addresses=addresses,
        ports=taken_ports(one for one in held if one.id not in ended),
        closed=_why_closed(verdict, reason),
    )


def _why_closed(verdict: Verdict, reason: str | None) -> str:
    if verdict is Verdict.READY:
        return ""
    return reason or f"is {verdict}"


def document_bytes(workload: Workload) -> int:
    """Return how much an assignment of this workload adds to a manifest, at most."""
    return len(codec.encode(workload)) + _ASSIGNMENT_BYTES
