"""Every allocation with all that is known of it: what the leader asked for and what its node says.

Pure. The manifest says what should be there, the report what is. An allocation that only a report
knows is on its way out; one that only a manifest knows has not been seen by its node yet.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from scheduler.nodes import Verdict, Verdicts
from scheduler.world import NodeState, World
from shared.api import AllocationView
from shared.model import (
    AllocationStatus,
    AllocId,
    Assignment,
    Health,
    NodeName,
    ServiceName,
    StackName,
    Want,
    Workload,
)
from shared.states import TERMINAL, AllocState

_ID_PARTS: Final = 4  # <stack>.<service>.<slot>.<suffix>


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """One allocation.

    Attributes:
        workload: None: no manifest lists it any more.
        attempt: how many allocations of its slot failed in a row before it.
        verdict: what its node is held for.
    """

    view: AllocationView
    workload: Workload | None
    attempt: int
    verdict: Verdict

    @property
    def is_prepared(self) -> bool:
        """Say whether it is a standby that only needs to be started."""
        view = self.view
        is_made = view.state is AllocState.PREPARING and bool(view.address)
        return self.verdict.is_sound and view.standby and is_made

    @property
    def is_ready(self) -> bool:
        """Say whether requests are answered by it."""
        view = self.view
        return (
            self.verdict.is_sound
            and self.workload is not None
            and not view.draining
            and view.state is AllocState.RUNNING
            and view.health is Health.HEALTHY
        )

    @property
    def is_complete(self) -> bool:
        """Say whether it has run to its end and ended well."""
        return self.workload is not None and self.view.state is AllocState.COMPLETE

    @property
    def is_asked_for(self) -> bool:
        """Say whether its node shall run it."""
        return self.workload is not None and not self.view.draining

    @property
    def is_there(self) -> bool:
        """Say whether it still runs or shall run, as far as anybody can know."""
        if self.verdict is Verdict.LOST:
            return False
        return self.workload is not None or self.view.state not in TERMINAL


def placed(world: World, verdicts: Verdicts) -> tuple[Placed, ...]:
    """Return every allocation, sorted by stack, service, slot, id."""
    found = [
        one
        for name, node in world.nodes.items()
        for one in _on_node(node, verdicts.get(name, Verdict.SUSPECT))
    ]
    return tuple(
        sorted(
            found, key=lambda one: (one.view.stack, one.view.service, one.view.slot, one.view.id)
        )
    )


def _on_node(node: NodeState, verdict: Verdict) -> Iterator[Placed]:
    report = node.report
    statuses = {status.id: status for status in report.allocations} if report is not None else {}
    for assignment in node.assignments:
        status = statuses.pop(assignment.id, None)
        yield _assigned(assignment, status or _unseen(assignment), node, verdict)
    if node.alive:
        yield from (_leaving(status, node, verdict) for status in statuses.values())


def _assigned(
    assignment: Assignment, status: AllocationStatus, node: NodeState, verdict: Verdict
) -> Placed:
    view = AllocationView(
        id=assignment.id,
        stack=assignment.stack,
        service=assignment.service,
        slot=assignment.slot,
        node=node.spec.name,
        image=assignment.workload.image,
        state=AllocState.LOST if verdict is Verdict.LOST else status.state,
        health=status.health,
        draining=assignment.want is Want.DRAIN,
        standby=assignment.want is Want.STANDBY,
        epoch=assignment.epoch if assignment.workload.exclusive else 0,
        address=status.address,
        reason=_reason(status, node.spec.name, verdict),
        restarts=status.restarts,
        since_s=status.since_s,
        exit_code=status.exit_code,
    )
    return Placed(
        view=view, workload=assignment.workload, attempt=assignment.attempt, verdict=verdict
    )


def _leaving(status: AllocationStatus, node: NodeState, verdict: Verdict) -> Placed:
    stack, service, slot = _parts(status.id)
    view = AllocationView(
        id=status.id,
        stack=stack,
        service=service,
        slot=slot,
        node=node.spec.name,
        image="",
        state=status.state,
        health=status.health,
        draining=True,
        address=status.address,
        reason=status.reason,
        restarts=status.restarts,
        since_s=status.since_s,
        exit_code=status.exit_code,
    )
    return Placed(view=view, workload=None, attempt=0, verdict=verdict)


def _reason(status: AllocationStatus, node: NodeName, verdict: Verdict) -> str:
    if verdict is Verdict.LOST:
        return f"{node} is lost"
    if verdict is Verdict.UNREACHABLE:
        return f"{node} is unreachable"
    if not verdict.is_sound:
        return f"{node} does not answer"
    return status.reason


def _parts(id_: AllocId) -> tuple[StackName, ServiceName, int]:
    parts = id_.split(".")
    if len(parts) != _ID_PARTS or not parts[2].isdecimal():
        return StackName(""), ServiceName(id_), 0
    return StackName(parts[0]), ServiceName(parts[1]), int(parts[2])


def _unseen(assignment: Assignment) -> AllocationStatus:
    return AllocationStatus(id=assignment.id, state=AllocState.PENDING)
