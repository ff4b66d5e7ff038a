"""Named volumes as people see them, and whether one may be removed.

Pure.
"""

from collections.abc import Iterable
from typing import Final

from scheduler.homes import named_volumes, reporters
from scheduler.nodes import Judged, Verdict
from scheduler.removals import users_of
from scheduler.world import VolumeState, World
from shared import keys
from shared.api import VolumeList, VolumeView
from shared.errors import NotFoundError, SpecError
from shared.model import NodeName, Removal, StackName
from shared.words import listed

_NAMES_SHOWN_MAX: Final = 20


def volumes(world: World, judged: Judged) -> VolumeList:
    """Return every volume that a record or a node knows of, sorted by name and node."""
    known = [_recorded(world, judged, name) for name in world.volumes]
    views = (*known, *_strangers(world))
    return VolumeList(volumes=tuple(sorted(views, key=lambda one: (one.name, one.node))))


def _recorded(world: World, judged: Judged, name: str) -> VolumeView:
    volume, wish = world.volumes[name].volume, world.removals.get(name)
    is_leaving = volume.is_leaving or (wish is not None and not wish.removal.given_up)
    return VolumeView(
        name=name,
        stack=volume.stack,
        node=volume.node,
        used_by=_users(world, name),
        is_leaving=is_leaving,
        problem=_problem(world, judged, world.volumes[name]),
    )


def _problem(world: World, judged: Judged, state: VolumeState) -> str:
    node = world.nodes.get(state.volume.node)
    if node is None:
        return f"there is no node {state.volume.node} any more"
    verdict = judged.verdicts.get(state.volume.node, Verdict.SUSPECT)
    if not verdict.is_sound:
        return f"{state.volume.node} is {verdict}"
    if node.report is not None and state.volume.name not in node.report.volumes:
        return "no data yet"
    return ""


def _strangers(world: World) -> Iterable[VolumeView]:
    """Yield data that nodes report and no record puts there; a global service's is no stranger."""
    for node, state in world.nodes.items():
        for name in state.report.volumes if state.report is not None else ():
            known = world.volumes.get(name)
            if known is not None and known.volume.node == node:
                continue
            here = (one for one in state.assignments if name in named_volumes(one.workload))
            users = tuple(sorted({f"{one.stack}.{one.service}" for one in here}))
            yield VolumeView(
                name=name,
                stack=StackName(""),
                node=node,
                used_by=users,
                problem="" if users else "no record",
            )


def _users(world: World, name: str, *, with_stopped: bool = True) -> tuple[str, ...]:
    held = {node: state.assignments for node, state in world.nodes.items()}
    return users_of(world, held, name, with_stopped=with_stopped)


def removal(world: World, name: str, at_s: float, *, is_forced: bool) -> Removal:
    """Return the wish that a volume goes.

    Args:
        world: now.
        name: the volume's.
        at_s: the wall clock.
        is_forced: its node is not waited for. Data without a record is given up, too.

    Raises:
        NotFoundError: no record knows it; says which there are.
        SpecError: it is in use; says by what.
    """
    home = _home(world, name, is_forced=is_forced)
    users = _users(world, name, with_stopped=not is_forced)
    if users:
        deed = "stop" if is_forced else "remove"
        raise SpecError(f"volume {name} is used by {', '.join(users)}: {deed} that first")
    return Removal(name=name, at_s=at_s, given_up=home if is_forced else NodeName(""))


def _home(world: World, name: str, *, is_forced: bool) -> NodeName:
    """Return the node that has, or is said to have, the data of a volume.

    Raises:
        NotFoundError: no record says so.
        SpecError: several are said to have it.
    """
    state = world.volumes.get(name)
    if state is not None:
        return state.volume.node
    there = reporters(world, name)
    if is_forced and len(there) == 1:
        return there[0]
    raise NotFoundError(_no_volume(world, name, there))


def _no_volume(world: World, name: str, there: tuple[NodeName, ...]) -> str:
    if keys.volume(name) in world.unreadable:
        return f"{keys.volume(name)} cannot be read: mend it, or delete that key"
    if there:
        return (
            f"no record knows volume {name}; {', '.join(there)} has data of that name,"
            " which only a person can remove there"
        )
    known = sorted(world.volumes)
    if not known:
        return f"there is no volume {name!r}; there is none at all"
    return f"there is no volume {name!r}; there are: {listed(known, _NAMES_SHOWN_MAX)}"
