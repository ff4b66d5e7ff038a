"""Volumes that people remove: which data is to go, which record may, and what waits for it.

Pure. A wish (`removals/<name>`) is only the beginning: while nobody uses the volume its record says
that it leaves, and its node's manifest that the data is to go. From then on nothing is placed with
it. Record and wish go once the node, with that manifest before its eyes, has the data no more.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from scheduler.homes import named_volumes, reporters
from scheduler.plan import Write
from scheduler.world import RemovalState, VolumeState, World
from shared import keys
from shared.model import Assignment, Event, NodeName, ServiceSpec, Volume


class Removals(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of volumes.

    Attributes:
        leaving: whose data each node is to remove, sorted.
        writes: of the volumes' records and of the wishes.
        events: one sentence for each.
    """

    leaving: Mapping[NodeName, tuple[str, ...]] = {}
    writes: tuple[Write, ...] = ()
    events: tuple[Event, ...] = ()


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of one volume: does its data leave, is its record written, does the wish end."""

    leaves: bool = False
    marks: bool = False
    forgets: bool = False
    ends: bool = False
    kind: str = ""
    reason: str = ""


def removals_of(
    world: World, held: Mapping[NodeName, Sequence[Assignment]], wall_s: float
) -> Removals:
    """Return what becomes of the volumes that a person wants gone.

    Args:
        world: everything.
        held: what every node will hold.
        wall_s: for the events.
    """
    names = sorted(
        {*world.removals, *(n for n, one in world.volumes.items() if one.volume.is_leaving)}
    )
    if not names:
        return Removals()
    leaving: dict[NodeName, list[str]] = defaultdict(list)
    writes: list[Write] = []
    events: list[Event] = []
    for name in names:
        step = _step(world, held, name)
        state, wish = world.volumes.get(name), world.removals.get(name)
        if state is not None and step.leaves:
            leaving[state.volume.node].append(name)
        writes += _writes(step, state, wish)
        if step.kind:
            node = state.volume.node if state is not None else NodeName("")
            events.append(
                Event(kind=step.kind, subject=name, reason=step.reason, at_s=wall_s, node=node)
            )
    return Removals(
        leaving={node: tuple(found) for node, found in leaving.items()},
        writes=tuple(writes),
        events=tuple(events),
    )


def _writes(step: _Step, state: VolumeState | None, wish: RemovalState | None) -> Iterable[Write]:
    reasons = (step.reason,) if step.reason else ()
    if state is not None and (step.marks or step.forgets):
        after: Volume | None = msgspec.structs.replace(state.volume, is_leaving=True)
        yield Write(
            key=keys.volume(state.volume.name),
            record=None if step.forgets else after,
            decided_at=state.revision,
            reasons=reasons,
        )
    if wish is not None and step.ends:
        key = keys.removal(wish.removal.name)
        yield Write(key=key, record=None, decided_at=wish.revision, reasons=reasons)


def _step(world: World, held: Mapping[NodeName, Sequence[Assignment]], name: str) -> _Step:
    state, wish = world.volumes.get(name), world.removals.get(name)
    if wish is not None and wish.removal.given_up:
        return _give_up(world, held, state, wish)
    if state is None:
        # A record that cannot be read may be mended: until then nobody knows what was wished for.
        return _Step(ends=keys.volume(name) not in world.unreadable)
    if state.volume.is_leaving:
        return _go_on(world, state.volume)
    if world.frozen_stacks:
        return _Step()  # Nobody knows whether an unreadable stack needs it.
    users = users_of(world, held, name)
    if users:
        return _Step(ends=True, kind="volume_kept", reason=_used_again(users))
    removed = f"it was removed: {state.volume.node} is to remove its data"
    return _Step(leaves=True, marks=True, kind="volume_leaving", reason=removed)


def _go_on(world: World, volume: Volume) -> _Step:
    if not _is_gone(world, volume):
        return _Step(leaves=True)
    gone = f"{volume.node} has removed its data"
    return _Step(forgets=True, ends=True, kind="volume_removed", reason=gone)


def _used_again(users: Sequence[str]) -> str:
    return f"{', '.join(users)} {'uses' if len(users) == 1 else 'use'} it again"


def _give_up(
    world: World,
    held: Mapping[NodeName, Sequence[Assignment]],
    state: VolumeState | None,
    wish: RemovalState,
) -> _Step:
    """Forget the record; the wish stays as long as the node says that it has the data.

    Otherwise its old report would make the node the volume's home again.
    """
    name, given_up = wish.removal.name, wish.removal.given_up
    ends = not _has_data(world, given_up, name)
    if state is None or state.volume.node != given_up:
        return _Step(ends=ends, leaves=state is not None and state.volume.is_leaving)
    if state.revision > wish.revision and not state.volume.is_leaving:
        return _Step(ends=True)  # It has come to be there anew.
    if world.frozen_stacks:
        return _Step(leaves=state.volume.is_leaving)
    users = users_of(world, held, name, with_stopped=False)
    if users:
        return _Step(ends=True, kind="volume_kept", reason=_used_again(users))
    forgotten = f"it was removed by force: what {given_up} has of it stays on its disk"
    return _Step(forgets=True, ends=ends, kind="volume_removed", reason=forgotten)


def _is_gone(world: World, volume: Volume) -> bool:
    node = world.nodes.get(volume.node)
    if node is None or node.manifest is None or node.report is None:
        return False
    is_told = volume.name in node.manifest.leaving_volumes
    has_seen = node.report.manifest_generation >= node.manifest.generation
    return is_told and has_seen and volume.name not in node.report.volumes


def _has_data(world: World, node: NodeName, name: str) -> bool:
    state = world.nodes.get(node)
    return state is not None and state.report is not None and name in state.report.volumes


# ---------------------------------------------------------------- who uses it


def users_of(
    world: World,
    held: Mapping[NodeName, Sequence[Assignment]],
    name: str,
    *,
    with_stopped: bool = True,
) -> tuple[str, ...]:
    """Return the services that use a volume, as <stack>.<service>, sorted.

    Args:
        world: what is asked for, and which versions updates go between.
        held: what every node has, or will have.
        name: the volume's.
        with_stopped: a service that is stopped wants its data back.
    """
    found = {
        f"{stack}.{spec.name}"
        for stack, spec in _specs(world)
        if name in named_volumes(spec.workload) and (with_stopped or not spec.is_stopped)
    }
    for assignments in held.values():
        for one in assignments:
            if name in named_volumes(one.workload):
                found.add(f"{one.stack}.{one.service}")
    return tuple(sorted(found))


def _specs(world: World) -> Iterable[tuple[str, ServiceSpec]]:
    """Return all versions that slots have or may get: an update may go back to the one before."""
    for name, state in world.stacks.items():
        for spec in state.stack.services:
            yield name, spec
            known = world.rollouts.get((name, spec.name))
            if known is None:
                continue
            yield name, known.rollout.spec
            if not known.rollout.is_settled and known.rollout.stable is not None:
                yield name, known.rollout.stable


# ---------------------------------------------------------------- what waits


def why_blocked(world: World, spec: ServiceSpec) -> str:
    """Return why no copy of a version can be placed because of its volumes; empty: one can."""
    for name in named_volumes(spec.workload):
        state = world.volumes.get(name)
        if state is not None and state.volume.is_leaving:
            return (
                f"volume {name} was removed: it is made anew once {state.volume.node} has removed"
                " its data"
            )
        if keys.volume(name) in world.unreadable:
            return f"{keys.volume(name)} cannot be read: it says where the data of volume {name} is"
        if state is None and not spec.mode.is_global and len(reporters(world, name)) > 1:
            *others, last = reporters(world, name)
            return (
                f"{', '.join(others)} and {last} have data of volume {name}, and no record says"
                " which is right: remove the folder on all but one"
            )
    return ""
