"""Nodes as placement sees them.

Pure.
"""

from collections.abc import Sequence
from typing import Final

import msgspec

from scheduler.fit import Candidate, minus, total
from scheduler.nodes import Verdict
from scheduler.ports import taken_ports
from scheduler.world import NodeState
from shared import codec
from shared.model import Assignment, Report, Want, Workload
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

    None if it is not there to be asked, or while nobody knows what it has.

    Args:
        node: the node.
        held: what it will hold, by its manifest.
        addresses: how many it has left for new containers.
        verdict: what it is held for.
        reason: of the verdict.
    """
    if node.report is None or not verdict.is_sound:
        return None
    room = room_of(node, node.report, held)
    return msgspec.structs.replace(
        room,
        document_bytes=sum(document_bytes(assignment.workload) for assignment in held),
        addresses=addresses,
        closed=_why_closed(verdict, reason),
    )


def room_of(node: NodeState, report: Report, held: Sequence[Assignment]) -> Candidate:
    """Return a node with what it has left: all that is cheap to know, whatever it is held for."""
    lasting = lasting_of(report, held)
    replicas: dict[tuple[str, str], int] = {}
    images = {*report.images, *(assignment.workload.image for assignment in lasting)}
    for assignment in lasting:
        if assignment.want is Want.RUN:
            key = (str(assignment.stack), str(assignment.service))
            replicas[key] = replicas.get(key, 0) + 1
    return Candidate(
        spec=node.spec,
        capacity=report.capacity,
        free=minus(report.capacity, total(one.workload.reservations for one in lasting)),
        replicas=replicas,
        images=frozenset(images),
        ports=taken_ports(lasting),
    )


def lasting_of(report: Report | None, held: Sequence[Assignment]) -> list[Assignment]:
    """Return what takes room of what a node holds.

    An allocation that has failed or completed runs no more: it is there only to be remembered.
    """
    over = {AllocState.FAILED, AllocState.COMPLETE}
    told = report.allocations if report is not None else ()
    ended = {status.id for status in told if status.state in over}
    return [assignment for assignment in held if assignment.id not in ended]


def _why_closed(verdict: Verdict, reason: str | None) -> str:
    if verdict is Verdict.READY:
        return ""
    return reason or f"is {verdict}"


def document_bytes(workload: Workload) -> int:
    """Return how much an assignment of this workload adds to a manifest, at most."""
    return len(codec.encode(workload)) + _ASSIGNMENT_BYTES
