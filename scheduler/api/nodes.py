"""One node as people see it, what they may change of it, and whether it may be removed.

Pure.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from scheduler.api.floating import floating
from scheduler.api.placed import Placed
from scheduler.api.progress import state_of
from scheduler.api.views import nodes, rollout_of
from scheduler.explain import Kept
from scheduler.nodes import Judged
from scheduler.place import Unplaceable
from scheduler.world import NodeState, SlotId, World
from shared import keys
from shared.api import Left, NodeChange, NodeDetail
from shared.errors import NotFoundError, SpecError
from shared.model import Availability, NodeName, NodeSpec, RolloutPhase, ServiceName, StackName
from shared.states import TERMINAL
from shared.words import listed

LABELS_MAX: Final = 64
# As in a Compose file's constraints.
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_VALUE: Final = re.compile(r"[!-~]{0,128}")
_NAMES_SHOWN_MAX: Final = 10
_CANARY: Final = frozenset({RolloutPhase.CANARY, RolloutPhase.PAUSED})


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster at one moment, and why what it runs is not placed anew."""

    world: World
    judged: Judged
    found: Sequence[Placed]
    kept: Kept = Kept()


def known(world: World, name: str) -> NodeState:
    """Return a node.

    Raises:
        NotFoundError: there is none of the name; says which there are.
    """
    state = world.nodes.get(NodeName(name))
    if state is not None:
        return state
    key = keys.node_spec(NodeName(name))
    if key in world.unreadable:
        raise NotFoundError(f"{key} cannot be read: mend it, or delete that key")
    there = listed(sorted(world.nodes), _NAMES_SHOWN_MAX) or "none"
    raise NotFoundError(f"there is no node {name[:80]!r}; there are: {there}")


# ---------------------------------------------------------------- what it has


def detail(scene: Scene, name: NodeName) -> NodeDetail:
    """Return a node with what it has, and, if it is being drained, what each of it waits for."""
    node = scene.world.nodes[name]
    view = next(one for one in nodes(scene.world, scene.judged) if one.name == name)
    is_draining = node.spec.availability is Availability.DRAINING
    here = [one for one in scene.found if one.view.node == name and _is_left(one)]
    refused = {_slot(one): one.reason for one in scene.kept.unplaceable}
    return NodeDetail(
        node=view,
        subnet=node.spec.subnet,
        left=(
            *(_left(scene, one, refused) if is_draining else _plain(one) for one in here),
            *_addresses(scene, name, is_draining=is_draining),
        ),
        volumes=node.report.volumes if node.report is not None else (),
    )


def _is_left(one: Placed) -> bool:
    """Say whether an allocation runs or will; what has ended is only remembered."""
    return one.is_there and one.view.state not in TERMINAL


def _slot(one: Unplaceable) -> SlotId:
    stack, service = one.request.service
    return StackName(stack), ServiceName(service), one.request.slot


def _plain(one: Placed) -> Left:
    view = one.view
    what = f"{view.stack}.{view.service}.{view.slot}"
    return Left(what=what, allocation=view.id, state=state_of(view))


def _left(scene: Scene, one: Placed, refused: Mapping[SlotId, str]) -> Left:
    view, plain = one.view, _plain(one)
    if view.draining:
        return msgspec.structs.replace(plain, why="it ends")
    why = refused.get((view.stack, view.service, view.slot), "")
    if why and not view.standby:
        return msgspec.structs.replace(plain, why=why, is_stuck=True)
    if _runs_to_its_end(scene.world, one):
        return msgspec.structs.replace(plain, why="it is a job: it runs to its end here")
    following = [other for other in scene.found if _follows(other, one)]
    rollout = rollout_of(scene.world, view.stack, view.service)
    if rollout is not None and rollout.phase in _CANARY and any(o.is_ready for o in following):
        name = f"{view.stack}.{view.service}"
        why = f"its update waits for `hafen promote {name}` or `hafen abort {name}`"
        return msgspec.structs.replace(plain, why=why, is_stuck=True)
    # As `hafen why` and `ls` say it, whatever is made already.
    waits = scene.kept.held_up.get((view.stack, view.service, view.slot), "")
    return msgspec.structs.replace(plain, why=waits or _how_far(following))


def _runs_to_its_end(world: World, one: Placed) -> bool:
    state = world.stacks.get(one.view.stack)
    specs = state.stack.services if state is not None else ()
    return any(spec.name == one.view.service and spec.mode.is_job for spec in specs)


def _follows(other: Placed, one: Placed) -> bool:
    mine, its = one.view, other.view
    is_same = (its.stack, its.service, its.slot) == (mine.stack, mine.service, mine.slot)
    return is_same and its.node != mine.node and other.is_asked_for and not its.standby


def _how_far(following: Sequence[Placed]) -> str:
    if not following:
        return "it is placed elsewhere next"
    view = following[-1].view
    why = f": {view.reason}" if view.reason else ""
    return f"its next copy on {view.node} is {state_of(view)}{why}"


def _addresses(scene: Scene, name: NodeName, *, is_draining: bool) -> Iterator[Left]:
    for one in floating(scene.world, scene.judged.verdicts).addresses:
        if one.holder != name:
            continue
        is_stuck = is_draining and not one.eligible
        why = "no other node may have it now" if is_stuck else "it is let go"
        yield Left(
            what=f"floating address {one.address}",
            why=why if is_draining else "",
            is_stuck=is_stuck,
        )


# ---------------------------------------------------------------- what may be changed


def changed(spec: NodeSpec, change: NodeChange) -> NodeSpec:
    """Return a node's spec as it is asked for.

    Raises:
        SpecError: a label cannot be one, or there would be too many.
    """
    labels = dict(spec.labels)
    for key, value in change.labels.items():
        if value is None:
            labels.pop(key, None)
            continue
        _check_label(key, value)
        labels[key] = value
    if len(labels) > max(LABELS_MAX, len(spec.labels)):
        raise SpecError(f"{len(labels)} labels; {LABELS_MAX} are the most")
    return msgspec.structs.replace(
        spec,
        labels=dict(sorted(labels.items())),
        availability=change.availability or spec.availability,
    )


def _check_label(key: str, value: str) -> None:
    if not _LABEL.fullmatch(key):
        raise SpecError(
            f"{key[:80]!r} cannot be a label: write letters, digits and . _ / - such as zone=a"
        )
    if not _VALUE.fullmatch(value):
        raise SpecError(
            f"{value[:80]!r} cannot be the value of label {key}: at most 128 characters, no spaces"
        )


# ---------------------------------------------------------------- whether it may go


def check_removable(scene: Scene, name: NodeName, ttl_s: float) -> None:
    """Return if a node may be removed.

    Args:
        scene: now.
        name: of a node that there is.
        ttl_s: how long a session lives whose agent has ended.

    Raises:
        SpecError: it lives, or what it runs is not given up yet; says what to do.
    """
    node, verdict = scene.world.nodes[name], scene.judged.verdicts[name]
    if node.alive:
        raise SpecError(
            f"{name} is {verdict}, it has a session: `hafen node drain {name}`, then stop hafen on"
            f" that host, and try again {ttl_s:g} s later"
        )
    held = _held(node)
    if held and not verdict.is_given_up:
        raise SpecError(
            f"{name} is {verdict} and may come back with {listed(held)}:"
            " wait until `hafen node ls` says that it is lost"
        )


def _held(node: NodeState) -> Sequence[str]:
    """Return what the node would run if it came back now."""
    reported = node.report.allocations if node.report is not None else ()
    over = {status.id for status in reported if status.state in TERMINAL}
    return [
        f"{one.stack}.{one.service}.{one.slot}" for one in node.assignments if one.id not in over
    ]
