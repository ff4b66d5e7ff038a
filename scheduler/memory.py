"""What the leader remembers between passes: since when something is so, by its own monotonic clock.

Pure. Nothing here is needed for safety. A new leader starts with what it saw of the nodes while it
followed, and so waits every other period once more.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from scheduler.nodes import History, Verdicts
from scheduler.world import World
from shared.model import AllocationStatus, AllocId, Want
from shared.states import AllocState

K = TypeVar("K")


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of the nodes, since when allocations failed and drain, and what was told."""

    nodes: History = History()
    failed_since: Mapping[AllocId, float] = {}
    draining_since: Mapping[AllocId, float] = {}
    told: Verdicts = {}


def remember(memory: Memory, world: World, now: float) -> Memory:
    """Return the memory after seeing `world` at `now`: what is no longer so is forgotten.

    The nodes' part is left to `judge`.
    """
    return Memory(
        nodes=memory.nodes,
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
