"""A cluster that obeys the leader at once and without faults: what a plan is played on.

Pure. Every container starts well and is healthy, every gateway acks, every job ends well, and so
does what others wait for to end. What has failed already stays failed, and a node that does not
answer does nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from scheduler.decide import decide
from scheduler.memory import Memory
from scheduler.place import Unplaceable
from scheduler.plan import Write
from scheduler.story import Now
from scheduler.world import (
    NodeState,
    RolloutState,
    RoutesState,
    ServiceId,
    VolumeState,
    World,
)
from shared import keys
from shared.model import (
    AllocationStatus,
    Assignment,
    Claim,
    DependsOn,
    Health,
    Manifest,
    MountKind,
    Report,
    Revision,
    Rollout,
    Routes,
    ServiceName,
    StackName,
    Volume,
    Want,
)
from shared.states import TERMINAL, AllocState
from shared.timing import Timing

# A write wakes agents and leader at once.
_ACTING_S: Final = 0.05
# Where a container has no address yet, any will do.
_ADDRESS: Final = "192.0.2.1"

SlotId = tuple[StackName, ServiceName, int]


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """The cluster after so many passes.

    Attributes:
        wrote: the pass that led here changed something.
        wake_in_s: when time alone was to change the decision.
        unplaceable: what it found no node for.
        waiting: what services wait for besides a node, one sentence each.
        vips: the network of virtual addresses.
    """

    world: World
    now: Now
    memory: Memory = Memory()
    wrote: bool = True
    wake_in_s: float = 0.0
    unplaceable: tuple[Unplaceable, ...] = ()
    waiting: Mapping[ServiceId, tuple[str, ...]] = {}
    vips: str = ""


def after_a_pass(scene: Scene, timing: Timing) -> Scene:
    """Return the cluster after the leader decided once, and everybody did as it was told."""
    decision = decide(scene.world, scene.memory, scene.now, timing, vips=scene.vips)
    writes, wake_in_s = decision.plan.writes, decision.plan.wake_in_s
    past_s = _ACTING_S if writes else max(wake_in_s, _ACTING_S)
    return Scene(
        world=_acted(_written(scene.world, writes)) if writes else _acted(scene.world),
        now=Now(scene.now.monotonic_s + past_s, scene.now.wall_s + past_s),
        memory=decision.memory,
        wrote=bool(writes),
        wake_in_s=wake_in_s,
        unplaceable=decision.unplaceable,
        waiting=decision.waiting,
        vips=scene.vips,
    )


# ---------------------------------------------------------------- the store


def _written(world: World, writes: Iterable[Write]) -> World:
    revision = Revision(world.revision + 1)
    nodes, routes = dict(world.nodes), dict(world.routes)
    rollouts, volumes = dict(world.rollouts), dict(world.volumes)
    for write in writes:
        match write.record:
            case Manifest() as manifest:
                nodes[manifest.node] = msgspec.structs.replace(
                    nodes[manifest.node], manifest=manifest, manifest_revision=revision
                )
            case Routes() as found:
                routes[found.stack] = RoutesState(found, revision)
            case Rollout() as rollout:
                rollouts[rollout.stack, rollout.service] = RolloutState(rollout, revision)
            case Volume() as volume:
                volumes[volume.name] = VolumeState(volume, revision)
            case _:
                pass
    gone = {write.key for write in writes if write.record is None}
    return msgspec.structs.replace(
        world,
        revision=revision,
        nodes=nodes,
        routes={name: one for name, one in routes.items() if keys.routes(name) not in gone},
        rollouts={name: one for name, one in rollouts.items() if keys.rollout(*name) not in gone},
        volumes={name: one for name, one in volumes.items() if keys.volume(name) not in gone},
        removals={
            name: one for name, one in world.removals.items() if keys.removal(name) not in gone
        },
    )


# ---------------------------------------------------------------- the agents


def _acted(world: World) -> World:
    claims = _claimed(world)
    ending = _ending(world)
    acked = {name: state.revision for name, state in world.routes.items()}
    nodes = {
        name: msgspec.structs.replace(node, report=_reported(node, acked, claims, ending))
        if node.alive and node.report is not None
        else node
        for name, node in world.nodes.items()
    }
    epochs = {slot: max(claim.epoch, world.epochs.get(slot, 0)) for slot, claim in claims.items()}
    return msgspec.structs.replace(
        world, nodes=nodes, claims=claims, epochs={**world.epochs, **epochs}
    )


def _claimed(world: World) -> Mapping[SlotId, Claim]:
    """Return who may run each exclusive slot: whoever has it keeps it until it goes."""
    claims = dict(world.claims)
    there = {one.id for node in world.nodes.values() for one in node.assignments}
    for name, node in world.nodes.items():
        for one in node.assignments:
            key = (one.stack, one.service, one.slot)
            if not one.workload.exclusive or one.want is not Want.RUN:
                continue
            before = claims.get(key)
            if before is None or not before.node or before.allocation not in there:
                claims[key] = Claim(node=name, allocation=one.id, epoch=one.epoch)
    return claims


def _ending(world: World) -> frozenset[tuple[StackName, ServiceName]]:
    """Return the services whose copies end well: jobs, and those for whose end others wait."""
    found = {
        (name, spec.name)
        for name, state in world.stacks.items()
        for spec in state.stack.services
        if spec.mode.is_job
    }
    awaited = {
        (name, dependency.service)
        for name, state in world.stacks.items()
        for spec in state.stack.services
        for dependency in spec.depends_on
        if dependency.condition is DependsOn.COMPLETED
    }
    return frozenset(found | awaited)


def _reported(
    node: NodeState,
    acked: Mapping[StackName, Revision],
    claims: Mapping[SlotId, Claim],
    ending: frozenset[tuple[StackName, ServiceName]],
) -> Report:
    report, manifest = node.report, node.manifest
    assert report is not None, "only a node that reports acts"
    if manifest is None:
        return report
    before = {status.id: status for status in report.allocations}
    volumes = {
        mount.source
        for one in manifest.assignments
        for mount in one.workload.mounts
        if mount.kind is MountKind.VOLUME and mount.source
    }
    return msgspec.structs.replace(
        report,
        manifest_generation=manifest.generation,
        allocations=tuple(
            _status(one, before.get(one.id), claims, (one.stack, one.service) in ending)
            for one in manifest.assignments
        ),
        acked=acked,
        busy=(),
        images=tuple(sorted({*report.images, *manifest.images})),
        missing_images={},
        volumes=tuple(sorted(({*report.volumes} - {*manifest.leaving_volumes}) | volumes)),
    )


def _status(
    one: Assignment,
    before: AllocationStatus | None,
    claims: Mapping[SlotId, Claim],
    ends: bool,  # noqa: FBT001 - decided by the caller for all
) -> AllocationStatus:
    if before is not None and before.state in TERMINAL:
        return before
    address = (before.address if before is not None else "") or one.address or _ADDRESS
    if one.want is Want.STANDBY or _must_wait(one, claims):
        return AllocationStatus(id=one.id, state=AllocState.PREPARING, address=address)
    if ends:
        return AllocationStatus(id=one.id, state=AllocState.COMPLETE, exit_code=0)
    return AllocationStatus(
        id=one.id, state=AllocState.RUNNING, health=Health.HEALTHY, address=address
    )


def _must_wait(one: Assignment, claims: Mapping[SlotId, Claim]) -> bool:
    claim = claims.get((one.stack, one.service, one.slot))
    is_taken = claim is not None and bool(claim.node) and claim.allocation != one.id
    return one.workload.exclusive and is_taken
