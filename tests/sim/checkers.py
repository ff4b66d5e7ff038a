"""What must hold after every write, whatever goes wrong."""

from collections.abc import Sequence

import msgspec

from scheduler.place import minus
from shared import codec, keys
from shared.model import AllocId, Leader, Manifest, NodeName, Report, Resources, Want
from shared.states import TERMINAL, AllocState
from shared.store import Op, Put, exactly
from tests.fakes.store import FakeEtcd


class SafetyError(AssertionError):
    """A promise was broken; the message says which and by whom."""


class Checkers:
    """Looks at every write that the store has accepted.

    Args:
        server: the store.
        capacity: of every node.
    """

    def __init__(self, server: FakeEtcd, capacity: Resources) -> None:
        self._server, self._capacity = server, capacity
        self._homes: dict[AllocId, NodeName] = {}
        self._ended: dict[AllocId, AllocState] = {}
        self.leader_writes = 0

    def wrote(self, writer: NodeName, ops: Sequence[Op]) -> None:
        """Check one accepted write.

        Raises:
            SafetyError: it breaks a promise.
        """
        for op in ops:
            if op.key.startswith((keys.DESIRED, keys.ROUTES)):
                self._by_the_leader(writer, op.key)
            if isinstance(op, Put) and op.key.startswith(keys.DESIRED):
                manifest = codec.decode(Manifest, op.value, op.key)
                self._no_overcommitment(manifest)
                self._homes_are_for_life(manifest)
                self._one_per_slot(manifest)
            if isinstance(op, Put) and op.key.startswith(keys.OBSERVED):
                self._ends_are_ends(codec.decode(Report, op.value, op.key))

    def _by_the_leader(self, writer: NodeName, key: str) -> None:
        self.leader_writes += 1
        (item,) = self._server.list(exactly(keys.LEADER)).items or (None,)
        leader = codec.decode(Leader, item.value, item.key).node if item is not None else None
        if leader != writer:
            raise SafetyError(f"{writer} wrote {key} while {leader} led")

    def _no_overcommitment(self, manifest: Manifest) -> None:
        free = self._capacity
        for assignment in manifest.assignments:
            # One that has failed runs no more and takes nothing.
            if self._ended.get(assignment.id) is not AllocState.FAILED:
                free = minus(free, assignment.workload.reservations)
        if free.cpu_millis < 0 or free.memory_bytes < 0:
            raise SafetyError(f"{manifest.node} is over-committed: {msgspec.to_builtins(free)}")

    def _homes_are_for_life(self, manifest: Manifest) -> None:
        for assignment in manifest.assignments:
            home = self._homes.setdefault(assignment.id, manifest.node)
            if home != manifest.node:
                raise SafetyError(f"{assignment.id} moved from {home} to {manifest.node}")

    def _one_per_slot(self, manifest: Manifest) -> None:
        """One slot never has two allocations of one generation on one node."""
        running = [
            (a.stack, a.service, a.slot, a.workload.image)
            for a in manifest.assignments
            if a.want is Want.RUN
        ]
        if len(running) != len(set(running)):
            raise SafetyError(f"{manifest.node} runs a slot twice: {sorted(running)}")

    def _ends_are_ends(self, report: Report) -> None:
        for status in report.allocations:
            before = self._ended.get(status.id)
            # What is not asked for any more is stopped, however it ended: that is no way back.
            if before is not None and status.state not in {before, AllocState.STOPPING}:
                raise SafetyError(f"{status.id} was {before} and is {status.state}")
            if status.state in TERMINAL:
                self._ended[status.id] = status.state
