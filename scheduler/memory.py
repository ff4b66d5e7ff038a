"""What the leader remembers between passes: since when something is so, by its own monotonic clock.

Pure. Nothing here is needed for safety. A new leader starts without it and so waits each period
once more.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from scheduler.nodes import Verdict
from scheduler.world import World
from shared.model import AllocationStatus, AllocId, NodeName, Want
from shared.states import AllocState

K = TypeVar("K")


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Since when nodes are silent, allocations failed and drain; and what was told of each node."""

    missing_since: Mapping[NodeName, float] = {}
    failed_since: Mapping[AllocId, float] = {}
    draining_since: Mapping[AllocId, float] = {}
    told: Mapping[NodeName, Verdict] = {}


def remember(memory: Memory, world: World, now: float) -> Memory:
    """Return the memory after seeing `world` at `now`: what is no longer so is forgotten."""
    return Memory(
        missing_since=_since(
            memory.missing_since,
            (name for name, node in world.nodes.items() if not node.alive),
            now,
        ),
        failed_since=_since(
            memory.failed_since,
            (status.id for status in _statuses(world) if status.state is AllocState.FAILED),
            now,
        ),
        draining_since=_since(
            memory.draining_since,
            (
                assignment.id
                for node in world.nodes.values()
                for assignment in node.assignments
                if assignment.want is Want.DRAIN
            ),
            now,
        ),
        told=memory.told,
    )


def _since(before: Mapping[K, float], now_so: Iterable[K], now: float) -> Mapping[K, float]:
    return {key: before.get(key, now) for key in now_so}


def _statuses(world: World) -> Iterable[AllocationStatus]:
    for node in world.nodes.values():
        if node.report is not None:
            yield from node.report.allocations
