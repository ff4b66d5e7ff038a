"""The leader's whole decision: world and memory in, plan and memory out.

Pure, total and deterministic. Every pass compares whole with whole; what changed does not matter.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Final

import msgspec

from scheduler.allocs import Asked, allocs_of
from scheduler.changes import Changes, Times, Wanted
from scheduler.draft import Draft
from scheduler.fit import Request
from scheduler.follow import follow
from scheduler.homes import homes_of, new_volumes
from scheduler.images import spare_images
from scheduler.jobs import orchestrate_job
from scheduler.memory import Memory, remember, times_of
from scheduler.moving import stuck
from scheduler.nodes import Judged, judge
from scheduler.orchestrate import orchestrate
from scheduler.place import Bound, Unplaceable, place
from scheduler.plan import Plan, Write
from scheduler.removals import removals_of
from scheduler.requests import leaving_of, nodes_of, request_of, running_of
from scheduler.routes import drained
from scheduler.services import Service, services_of
from scheduler.story import Now, node_events, placed_event, rollout_events
from scheduler.traffic import ByService, Routable, by_service, planned, routes_writes
from scheduler.world import ServiceId, SlotId, World
from shared import keys
from shared.model import (
    AllocId,
    Assignment,
    Event,
    NodeName,
    Revision,
    ServiceName,
    ServiceSpec,
    StackName,
    Volume,
)
from shared.timing import Timing

# Heals what an event missed; a quiet cluster writes nothing all the same.
PERIOD_S: Final = 10.0
# A shorter wait may be less than a clock can tell: now + wait is now, and the leader would spin.
WAKE_S_LEAST: Final = 0.001
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class Decision(msgspec.Struct, frozen=True):
    """What to write, what to remember, and what does not go on.

    Attributes:
        unplaceable: slots that have no node.
        waiting: why slots of a service are left as they are, one sentence each.
        held_up: the same of single slots.
    """

    plan: Plan
    memory: Memory
    unplaceable: tuple[Unplaceable, ...] = ()
    waiting: Mapping[ServiceId, tuple[str, ...]] = {}
    held_up: Mapping[SlotId, str] = {}


class Placed(msgspec.Struct, frozen=True):
    """What came of the slots that want a node."""

    bound: tuple[tuple[ServiceId, Wanted, NodeName], ...] = ()
    unplaceable: tuple[Unplaceable, ...] = ()


def decide(world: World, memory: Memory, now: Now, timing: Timing, *, vips: str = "") -> Decision:
    """Return what the leader should write now.

    Args:
        world: everything under keys.ROOT at one revision.
        memory: what the pass before returned; a new leader hands in what it knows of the nodes.
        now: the clocks.
        timing: how fast a silent node is given up.
        vips: the network of virtual addresses; empty: services have none.
    """
    judged = judge(world, memory.nodes, now.monotonic_s, timing)
    told, memory = memory.told, remember(memory, world, now.monotonic_s)
    memory = msgspec.structs.replace(memory, nodes=judged.history)
    if world.is_frozen:
        return Decision(Plan(wake_in_s=PERIOD_S), memory)
    times = times_of(memory, now.monotonic_s)
    allocs = by_service(allocs_of(world, judged, times.ready_since))
    services = services_of(world, judged, allocs, memory, times, now)
    kept = stuck(world, judged, {key: each.asked for key, each in services.items()}, allocs)
    asked = kept.services
    changes = _orchestrate_all(world, judged, asked, allocs, times)
    draft = Draft(world)
    story = _change(draft, asked, changes, now)
    placed = _place_all(world, judged, draft, asked, changes)
    unplaceable = (*kept.unplaceable, *placed.unplaceable)
    story += _bind(world, draft, placed, now)
    images = spare_images(world, judged.verdicts, asked.values(), draft.assignments)
    after = planned(world, judged, draft, allocs, times.ready_since)
    routable = Routable(services=asked, allocs=after, soaking=_soaking(changes), vips=vips)
    removals = removals_of(world, draft.assignments, now.wall_s)
    # Volumes before manifests: should only the first of several transactions succeed, nothing is
    # removed that a record does not say so of, and nothing is placed whose place is not recorded.
    writes = (
        *_rollout_writes(world, services),
        *_volume_writes(world, placed),
        *removals.writes,
        *draft.writes(images, removals.leaving),
        *routes_writes(world, routable),
    )
    rollouts = {key: each.rollout for key, each in services.items() if each.rollout is not None}
    events = (
        *node_events(world, told, judged, now),
        *rollout_events(world, rollouts, now),
        *story,
        *removals.events,
    )
    memory = _noted(memory, judged, services, unplaceable)
    wake_in_s = _wake_in_s(judged, (*changes.values(), *services.values()))
    plan = Plan(writes=writes, events=events, wake_in_s=wake_in_s)
    return Decision(plan, memory, unplaceable, _waiting(asked), _held_up(asked))


def _noted(
    memory: Memory,
    judged: Judged,
    services: Mapping[ServiceId, Service],
    unplaceable: Iterable[Unplaceable],
) -> Memory:
    return msgspec.structs.replace(
        memory,
        told=judged.verdicts,
        marks={key: each.mark for key, each in services.items() if each.mark is not None},
        unplaced=_unplaced(unplaceable),
    )


def _soaking(changes: Mapping[ServiceId, Changes]) -> frozenset[AllocId]:
    return frozenset(id_ for change in changes.values() for id_ in change.soaking)


def _wake_in_s(judged: Judged, parts: Iterable[Changes | Service]) -> float:
    waits = (PERIOD_S, judged.changes_in_s, *(each.wake_in_s for each in parts))
    return max(min(wait_s for wait_s in waits if wait_s is not None), WAKE_S_LEAST)


def _orchestrate_all(
    world: World,
    judged: Judged,
    services: Mapping[ServiceId, Asked],
    allocs: ByService,
    times: Times,
) -> Mapping[ServiceId, Changes]:
    gone = drained(world, judged, chain.from_iterable(allocs.values()))
    return {
        key: orchestrate_job(asked, allocs.get(key, ()), times)
        if _is_job(asked)
        else orchestrate(asked, allocs.get(key, ()), gone, times)
        for key, asked in services.items()
    }


def _waiting(services: Mapping[ServiceId, Asked]) -> Mapping[ServiceId, tuple[str, ...]]:
    found: dict[ServiceId, tuple[str, ...]] = {}
    for key, asked in services.items():
        said = {plan.waits_for for plan in asked.slots.values()} | {asked.image_waits}
        if sentences := tuple(sorted(said - {""})):
            found[key] = sentences
    return found


def _held_up(services: Mapping[ServiceId, Asked]) -> Mapping[SlotId, str]:
    return {
        (*key, slot): plan.waits_for
        for key, asked in services.items()
        for slot, plan in asked.slots.items()
        if plan.waits_for
    }


def _is_job(asked: Asked) -> bool:
    return asked.spec is not None and asked.spec.mode.is_job


def _change(
    draft: Draft,
    asked: Mapping[ServiceId, Asked],
    changes: Mapping[ServiceId, Changes],
    now: Now,
) -> list[Event]:
    """Do all but placing; return the sentences for it."""
    story: list[Event] = []
    for key, change in changes.items():
        for id_, reason in change.drop.items():
            draft.drop(id_, reason)
        for id_, reason in change.drain.items():
            draft.drain(id_, reason)
        for id_, wanted in change.activate.items():
            for replaced in wanted.replaces:
                draft.drop(replaced, wanted.reason)
            node = draft.activate(id_, wanted.slot, wanted.reason)
            subject = _subject(key, wanted.slot)
            story.append(placed_event(subject, node, wanted.reason, now, anew=False))
    follow(draft, asked)
    return story


def _subject(service: tuple[str, str], slot: int) -> str:
    return f"{service[0]}.{service[1]}.{slot}"


def _place_all(
    world: World,
    judged: Judged,
    draft: Draft,
    asked: Mapping[ServiceId, Asked],
    changes: Mapping[ServiceId, Changes],
) -> Placed:
    lacking = {key: change.wanted for key, change in changes.items() if change.wanted}
    if not lacking:
        return Placed()
    wanted: dict[tuple[ServiceId, int], Wanted] = {}
    requests: list[Request] = []
    running = running_of(draft.assignments, lacking.keys())
    for key, wants in lacking.items():
        leaving: Mapping[NodeName, int] = {}
        spec: ServiceSpec | None = None
        for want in wants:
            wanted[key, want.slot] = want
            if want.spec is not spec:
                spec, leaving = want.spec, leaving_of(world, running[key], want.spec)
            requests.append(request_of(world, asked[key], want, leaving))
    homes = homes_of(world, {volume for request in requests for volume in request.volumes})
    bound: list[tuple[ServiceId, Wanted, NodeName]] = []
    unplaceable: list[Unplaceable] = []
    for outcome in place(nodes_of(world, judged, draft), requests, homes):
        match outcome:
            case Bound(request, node_name):
                key = (StackName(request.service[0]), ServiceName(request.service[1]))
                bound.append((key, wanted[key, request.slot], node_name))
            case Unplaceable():
                unplaceable.append(outcome)
    return Placed(tuple(bound), tuple(unplaceable))


def _bind(world: World, draft: Draft, placed: Placed, now: Now) -> list[Event]:
    """Give the nodes what was placed on them; return the sentences for it."""
    story: list[Event] = []
    for key, wanted, node in placed.bound:
        for id_ in wanted.replaces:
            draft.drop(id_, wanted.reason)
        draft.add(node, _assignment(world, key, wanted), wanted.reason)
        subject = _subject(key, wanted.slot)
        story.append(placed_event(subject, node, wanted.reason, now, anew=True))
    return story


def _assignment(world: World, key: ServiceId, wanted: Wanted) -> Assignment:
    stack, service = key
    return Assignment(
        id=alloc_id(key, wanted.slot, world.revision),
        stack=stack,
        service=service,
        slot=wanted.slot,
        generation=world.stacks[stack].stack.generation,
        workload=wanted.spec.workload,
        want=wanted.want,
        attempt=wanted.attempt,
        epoch=world.revision,
        reason=wanted.reason,
    )


def alloc_id(service: ServiceId, slot: int, revision: Revision) -> AllocId:
    """Return an id that no other allocation has.

    Of all plans made at a revision, one can be written.
    """
    digits, rest = "", int(revision)
    while rest or not digits:
        rest, digit = divmod(rest, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return AllocId(f"{service[0]}.{service[1]}.{slot}.{digits}")


# ---------------------------------------------------------------- writes


def _rollout_writes(world: World, services: Mapping[ServiceId, Service]) -> Iterable[Write]:
    for key, service in services.items():
        now = world.rollouts.get(key)
        if service.rollout != (now.rollout if now is not None else None):
            yield Write(
                key=keys.rollout(*key),
                record=service.rollout,
                decided_at=now.revision if now is not None else Revision(0),
                reasons=(f"the update is {service.rollout.phase}",) if service.rollout else (),
            )


def _volume_writes(world: World, placed: Placed) -> Iterable[Write]:
    made: Iterable[Volume] = new_volumes(
        world, ((key[0], wanted.spec, node) for key, wanted, node in placed.bound)
    )
    for volume in made:
        yield Write(key=keys.volume(volume.name), record=volume, decided_at=Revision(0))


def _unplaced(found: Iterable[Unplaceable]) -> Mapping[ServiceId, str]:
    return {
        (StackName(each.request.service[0]), ServiceName(each.request.service[1])): (
            f"slot {each.request.slot}: {each.reason}"
        )
        for each in found
        if each.request.slot
    }
