"""What the leader remembers between passes: since when something is so, by its own monotonic clock.

Pure. Nothing here is needed for safety. A new leader starts with what it saw of the nodes while it
followed, and so waits every other period once more.
"""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import msgspec

from scheduler.changes import Mark, Times
from scheduler.nodes import History, Verdicts
from scheduler.world import ServiceId, World
from shared.model import AllocationStatus, AllocId, Health, Want
from shared.states import AllocState

K = TypeVar("K")


class Ready(msgspec.Struct, frozen=True):
    """Since when an allocation is ready, in which of its starts."""

    restarts: int
    since: float


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of the nodes, since when allocations are as they are, and what was told.

    Attributes:
        marks: when each service's update got further last.
        unplaced: why slots had no node in the pass before, a sentence for each service.
    """

    nodes: History = History()
    failed_since: Mapping[AllocId, float] = {}
    draining_since: Mapping[AllocId, float] = {}
    ready: Mapping[AllocId, Ready] = {}
    marks: Mapping[ServiceId, Mark] = {}
    unplaced: Mapping[ServiceId, str] = {}
    told: Verdicts = {}


def times_of(memory: Memory, now: float) -> Times:
    """Return what the decisions about services need of it."""
    return Times(
        now=now,
        failed_since=memory.failed_since,
        draining_since=memory.draining_since,
        ready_since={id_: ready.since for id_, ready in memory.ready.items()},
    )


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
        ready=_ready(memory.ready, world, now),
        marks=memory.marks,
        unplaced=memory.unplaced,
        told=memory.told,
    )


def _ready(before: Mapping[AllocId, Ready], world: World, now: float) -> Mapping[AllocId, Ready]:
    found: dict[AllocId, Ready] = {}
    for status in _statuses(world):
        if status.state is AllocState.RUNNING and status.health is Health.HEALTHY:
            known = before.get(status.id)
            is_same = known is not None and known.restarts == status.restarts
            found[status.id] = known if is_same and known else Ready(status.restarts, now)
    return found


def _since(before: Mapping[K, float], now_so: Iterable[K], now: float) -> Mapping[K, float]:
    return {key: before.get(key, now) for key in now_so}


def _statuses(world: World) -> Iterable[AllocationStatus]:
    for node in world.nodes.values():
        if node.report is not None:
            yield from node.report.allocations
