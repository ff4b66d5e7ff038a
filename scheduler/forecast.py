"""What would happen if a stack were deployed, by the very code that would make it happen.

The stack is put into the world, and the leader decides again and again on a cluster that obeys,
until nothing is left to do or a bound is reached.

Pure. Time and patience are the caller's.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from scheduler.decide import PERIOD_S
from scheduler.memory import Memory
from scheduler.nodes import History
from scheduler.rehearsal import Scene, after_a_pass
from scheduler.story import Now
from scheduler.world import StackState, World
from shared.api import Move, SlotStep
from shared.model import (
    AllocId,
    Assignment,
    Mode,
    NodeName,
    Revision,
    Rollout,
    RolloutPhase,
    ServiceName,
    Stack,
    StackName,
    Want,
    runs_alike,
)
from shared.subnets import Pools
from shared.timing import Timing

# A slot takes some five passes; what comes after eighty slots looks like what came before.
PASSES_MAX: Final = 400
# Passes in a row in which nothing happens although an update goes on: five minutes of waiting.
_QUIET_MAX: Final = 30
# What has no node in so many passes in a row in which nothing happens will not get one.
_STUCK_PASSES: Final = 2
_SENTENCES_MAX: Final = 20
_GOES_ON: Final = frozenset({RolloutPhase.ROLLING, RolloutPhase.ROLLING_BACK})
_WENT_WRONG: Final = frozenset(
    {RolloutPhase.ROLLING_BACK, RolloutPhase.ROLLED_BACK, RolloutPhase.FAILED, RolloutPhase.PAUSED}
)

_Held = Mapping[AllocId, tuple[Assignment, NodeName]]
# A service and a slot; of a standby the slot is 0 and the node tells them apart.
_SlotKey = tuple[ServiceName, int, str]


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What would happen to a stack.

    Attributes:
        steps: slot by slot, in the order in which they begin.
        more: slots that follow and were not played, as a bound was reached.
        refusals: why slots have no node, one sentence each.
        warnings: what else does not come true by itself, one sentence each.
    """

    steps: tuple[SlotStep, ...] = ()
    more: int = 0
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Start(msgspec.Struct, frozen=True):
    """Where the play begins.

    The cluster, what was seen of its nodes, the clocks of that, and what addresses are cut from.
    """

    world: World
    history: History
    now: Now
    pools: Pools = Pools()


def forecast(start: Start, stack: Stack, timing: Timing, is_over: Callable[[], bool]) -> Forecast:
    """Return what would happen if `stack` were stored now.

    Args:
        start: the cluster as it is.
        stack: with the generation that it would have.
        timing: how fast a silent node is given up.
        is_over: says that there is no more time to think.
    """
    world = _with(start.world, stack)
    memory = Memory(nodes=start.history)
    scene = Scene(world=world, now=start.now, memory=memory, vips=start.pools.vips)
    before = _held(world, stack.name)
    order: dict[_SlotKey, int] = {}
    quiet, passes, is_settled = 0, 0, False
    while not is_settled and passes < PASSES_MAX and not is_over():
        scene = after_a_pass(scene, timing)
        passes += 1
        quiet = 0 if scene.wrote else quiet + 1
        is_settled = _is_settled(scene, stack.name, quiet)
        if scene.wrote:
            for key in _changed(before, _held(scene.world, stack.name)):
                order.setdefault(key, passes)
    steps = _steps(before, _held(scene.world, stack.name), order)
    return _told(scene, stack, steps, is_settled=is_settled)


def _with(world: World, stack: Stack) -> World:
    revision = Revision(world.revision + 1)
    stacks = {**world.stacks, stack.name: StackState(stack, revision)}
    return msgspec.structs.replace(
        world, revision=revision, stacks={name: stacks[name] for name in sorted(stacks)}
    )


def _is_settled(scene: Scene, stack: StackName, quiet: int) -> bool:
    if scene.wrote:
        return False
    if quiet >= _QUIET_MAX or (_stuck(scene, stack) and quiet >= _STUCK_PASSES):
        return True
    goes_on = any(one.phase in _GOES_ON for one in _rollouts(scene.world, stack).values())
    return scene.wake_in_s >= PERIOD_S and not goes_on


def _stuck(scene: Scene, stack: StackName) -> bool:
    return any(one.request.service[0] == stack and one.request.slot for one in scene.unplaceable)


def _rollouts(world: World, stack: StackName) -> Mapping[ServiceName, Rollout]:
    return {
        service: state.rollout
        for (owner, service), state in world.rollouts.items()
        if owner == stack
    }


def _held(world: World, stack: StackName) -> _Held:
    return {
        one.id: (one, name)
        for name, node in world.nodes.items()
        for one in node.assignments
        if one.stack == stack
    }


# ---------------------------------------------------------------- slots


def _by_slot(held: _Held) -> Mapping[_SlotKey, _Held]:
    slots: dict[_SlotKey, dict[AllocId, tuple[Assignment, NodeName]]] = {}
    for id_, (one, node) in held.items():
        is_standby = one.want is Want.STANDBY
        key = (one.service, 0 if is_standby else one.slot, node if is_standby else "")
        slots.setdefault(key, {})[id_] = (one, node)
    return slots


def _changed(before: _Held, after: _Held) -> Iterable[_SlotKey]:
    old, new = _by_slot(before), _by_slot(after)
    return (
        key for key in sorted({*old, *new}) if old.get(key, {}).keys() != new.get(key, {}).keys()
    )


def _steps(before: _Held, after: _Held, order: Mapping[_SlotKey, int]) -> tuple[SlotStep, ...]:
    old, new = _by_slot(before), _by_slot(after)
    keys = sorted(_changed(before, after), key=lambda key: (order.get(key, PASSES_MAX), key))
    return tuple(_step(key, old.get(key, {}), new.get(key, {})) for key in keys)


def _step(key: _SlotKey, old: _Held, new: _Held) -> SlotStep:
    service, slot, _ = key
    gone = [(id_, node) for id_, (_, node) in sorted(old.items()) if id_ not in new]
    come = [node for id_, (_, node) in sorted(new.items()) if id_ not in old]
    if not come:
        allocation, node = gone[0]
        return SlotStep(
            service=service, slot=slot, move=Move.STOP, node=node, allocation=allocation
        )
    if not gone:
        return SlotStep(service=service, slot=slot, move=Move.START, node=come[-1])
    return SlotStep(
        service=service,
        slot=slot,
        move=Move.REPLACE,
        node=come[-1],
        allocation=gone[0][0],
        from_node=gone[0][1],
    )


# ---------------------------------------------------------------- sentences


def _told(scene: Scene, stack: Stack, steps: tuple[SlotStep, ...], *, is_settled: bool) -> Forecast:
    slots, standbys = _without_node(scene, stack.name)
    rollouts = _rollouts(scene.world, stack.name)
    wrong = [
        f"{name}: {one.reason or one.phase.value}"
        for name, one in sorted(rollouts.items())
        if one.phase in _WENT_WRONG and one.generation == stack.generation
    ]
    waits = [
        f"{name}: stops once {_canaries(one)} well; `hafen promote` or `hafen abort` then says how "
        "it goes on"
        for name, one in sorted(rollouts.items())
        if one.phase is RolloutPhase.CANARY
    ]
    held_up = [
        f"{service}: {sentence}"
        for (owner, service), said in sorted(scene.waiting.items())
        if owner == stack.name
        for sentence in said
    ]
    return Forecast(
        steps=steps,
        more=0 if is_settled else _left(scene.world, stack),
        refusals=_some([*slots, *wrong]) if is_settled else (),
        warnings=_some([*waits, *held_up, *standbys, *([] if is_settled else slots)]),
    )


def _without_node(scene: Scene, stack: StackName) -> tuple[list[str], list[str]]:
    """Return why slots, and why standbys of a stack have no node, one sentence each."""
    slots: list[str] = []
    standbys: list[str] = []
    for one in scene.unplaceable:
        owner, service = one.request.service
        if owner == stack and one.request.slot:
            slots.append(f"{service} {one.request.slot}: {one.reason}")
        elif owner == stack:
            standbys.append(f"{service} standby: {one.reason}")
    return slots, standbys


def _canaries(rollout: Rollout) -> str:
    count = rollout.target.update.canary
    return f"{count} canaries are" if count != 1 else "the canary is"


def _some(sentences: list[str]) -> tuple[str, ...]:
    more = len(sentences) - _SENTENCES_MAX
    rest = [f"and {more} more like these"] if more > 0 else []
    return (*sentences[:_SENTENCES_MAX], *rest)


def _left(world: World, stack: Stack) -> int:
    """Return how many slots do not yet have what is asked for."""
    fresh = {spec.name: 0 for spec in stack.services}
    specs = {spec.name: spec for spec in stack.services}
    for one, _ in _held(world, stack.name).values():
        spec = specs.get(one.service)
        if spec is None or one.want is not Want.RUN:
            continue
        fresh[one.service] += runs_alike(one.workload, spec.workload)
    return sum(
        max(spec.replicas - fresh[spec.name], 0)
        for spec in stack.services
        if spec.mode is Mode.REPLICATED and not spec.is_stopped
    )
