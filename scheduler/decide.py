"""The leader's whole decision: world and memory in, plan and memory out.

Pure, total and deterministic. Every pass compares whole with whole; what changed does not matter.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from scheduler.allocs import Alloc, Asked, allocs_of, allocs_on, asked_services
from scheduler.candidates import candidate, document_bytes
from scheduler.changes import Changes, Times, Wanted
from scheduler.draft import Draft
from scheduler.images import spare_images
from scheduler.memory import Memory, remember
from scheduler.nodes import Judged, judge
from scheduler.orchestrate import DRAIN_LIMIT_S, orchestrate
from scheduler.place import Bound, Request, Unplaceable, place
from scheduler.plan import Plan, Write
from scheduler.routes import drained, routes_of
from scheduler.story import Now, node_events, placed_event
from scheduler.world import ServiceId, World
from shared import keys
from shared.model import (
    AllocId,
    Assignment,
    Event,
    NodeName,
    Revision,
    ServiceName,
    StackName,
)
from shared.timing import Timing

# Heals what an event missed; a quiet cluster writes nothing all the same.
PERIOD_S: Final = 10.0
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class Decision(msgspec.Struct, frozen=True):
    """What to write, what to remember, and which slots have no node."""

    plan: Plan
    memory: Memory
    unplaceable: tuple[Unplaceable, ...] = ()


def decide(world: World, memory: Memory, now: Now, timing: Timing) -> Decision:
    """Return what the leader should write now.

    Args:
        world: everything under keys.ROOT at one revision.
        memory: what the pass before returned; a new leader hands in what it knows of the nodes.
        now: the clocks.
        timing: how fast a silent node is given up.
    """
    judged = judge(world, memory.nodes, now.monotonic_s, timing)
    told, memory = memory.told, remember(memory, world, now.monotonic_s)
    memory = msgspec.structs.replace(memory, nodes=judged.history)
    if world.is_frozen:
        return Decision(Plan(wake_in_s=PERIOD_S), memory)
    allocs = allocs_of(world, judged)
    times = Times(now.monotonic_s, memory.failed_since, memory.draining_since)
    services = asked_services(world, allocs)
    changes = _orchestrate_all(world, judged, services, allocs, times)
    draft = Draft(world)
    story = _change(draft, changes, now)
    bound, unplaceable = _place_all(world, judged, draft, services, changes)
    for request, node, wanted in bound:
        for id_ in wanted.replaces:
            draft.drop(id_, wanted.reason)
        asked = services[_key(request)]
        draft.add(node, _assignment(world, asked, wanted), wanted.reason)
        subject = _subject(request.service, wanted.slot)
        story.append(placed_event(subject, node, wanted.reason, now, anew=True))
    images = spare_images(world, judged.verdicts, services.values(), draft.assignments)
    writes = (*draft.writes(images), *_routes_writes(world, services, draft, judged))
    events = (*node_events(world, told, judged, now), *story)
    return Decision(
        Plan(writes=writes, events=events, wake_in_s=_wake_in_s(judged, changes.values(), times)),
        msgspec.structs.replace(memory, told=judged.verdicts),
        unplaceable,
    )


def _orchestrate_all(
    world: World,
    judged: Judged,
    services: Mapping[ServiceId, Asked],
    allocs: Sequence[Alloc],
    times: Times,
) -> Mapping[ServiceId, Changes]:
    by_service: dict[ServiceId, list[Alloc]] = defaultdict(list)
    for alloc in allocs:
        by_service[alloc.assignment.stack, alloc.assignment.service].append(alloc)
    gone = drained(world, judged.verdicts, allocs)
    return {
        key: orchestrate(asked, by_service[key], gone, times) for key, asked in services.items()
    }


def _change(draft: Draft, changes: Mapping[ServiceId, Changes], now: Now) -> list[Event]:
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
    return story


def _subject(service: tuple[str, str], slot: int) -> str:
    return f"{service[0]}.{service[1]}.{slot}"


def _key(request: Request) -> ServiceId:
    return StackName(request.service[0]), ServiceName(request.service[1])


def _place_all(
    world: World,
    judged: Judged,
    draft: Draft,
    services: Mapping[ServiceId, Asked],
    changes: Mapping[ServiceId, Changes],
) -> tuple[list[tuple[Request, NodeName, Wanted]], tuple[Unplaceable, ...]]:
    wanted: dict[tuple[ServiceId, int], Wanted] = {}
    requests: list[Request] = []
    for key, change in changes.items():
        for want in change.wanted:
            wanted[key, want.slot] = want
            requests.append(_request(services[key], want))
    if not requests:
        return [], ()
    nodes = [
        candidate(node, draft.assignments[name], judged.verdicts[name], judged.reasons.get(name))
        for name, node in world.nodes.items()
    ]
    bound: list[tuple[Request, NodeName, Wanted]] = []
    unplaceable: list[Unplaceable] = []
    for outcome in place([node for node in nodes if node is not None], requests):
        match outcome:
            case Bound(request, node_name):
                bound.append((request, node_name, wanted[_key(request), request.slot]))
            case Unplaceable():
                unplaceable.append(outcome)
    return bound, tuple(unplaceable)


def _request(asked: Asked, wanted: Wanted) -> Request:
    assert asked.spec is not None, "only a service with a spec wants allocations"
    workload = asked.spec.workload
    return Request(
        service=(asked.stack, asked.service),
        slot=wanted.slot,
        needs=workload.reservations,
        document_bytes=document_bytes(workload),
        placement=asked.spec.placement,
        avoid=wanted.avoid,
        barred=wanted.barred,
        image=workload.image if wanted.is_urgent else "",
    )


def _assignment(world: World, asked: Asked, wanted: Wanted) -> Assignment:
    assert asked.spec is not None, "only a service with a spec gets allocations"
    return Assignment(
        id=alloc_id(asked, wanted.slot, world.revision),
        stack=asked.stack,
        service=asked.service,
        slot=wanted.slot,
        generation=world.stacks[asked.stack].stack.generation,
        workload=asked.spec.workload,
        want=wanted.want,
        attempt=wanted.attempt,
        epoch=world.revision,
    )


def alloc_id(asked: Asked, slot: int, revision: Revision) -> AllocId:
    """Return an id that no other allocation has.

    Of all plans made at a revision, one can be written.
    """
    digits, rest = "", int(revision)
    while rest or not digits:
        rest, digit = divmod(rest, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return AllocId(f"{asked.stack}.{asked.service}.{slot}.{digits}")


def _routes_writes(
    world: World, services: Mapping[ServiceId, Asked], draft: Draft, judged: Judged
) -> Iterable[Write]:
    planned = _planned(world, draft, judged)
    stacks = {key[0] for key in services} | (world.routes.keys() - world.frozen_stacks)
    for stack in sorted(stacks):
        asked = [each for key, each in services.items() if key[0] == stack]
        wanted = routes_of(stack, asked, planned.get(stack, {}))
        now = world.routes.get(stack)
        if wanted != (now.routes if now is not None else None):
            yield Write(
                key=keys.routes(stack),
                record=wanted,
                decided_at=now.revision if now is not None else Revision(0),
            )


def _planned(
    world: World, draft: Draft, judged: Judged
) -> Mapping[StackName, Mapping[str, Sequence[Alloc]]]:
    """Return the allocations as they will be after the write, by stack and service."""
    after: dict[StackName, dict[str, list[Alloc]]] = defaultdict(lambda: defaultdict(list))
    for name in world.nodes:
        for alloc in allocs_on(world, judged, name, draft.assignments[name]):
            after[alloc.assignment.stack][alloc.assignment.service].append(alloc)
    for found in after.values():
        for allocs in found.values():
            allocs.sort(key=lambda alloc: alloc.id)
    return after


def _wake_in_s(judged: Judged, changes: Iterable[Changes], times: Times) -> float:
    """Return when time alone will change the decision.

    A grace, a doubt, a backoff or a drain limit ends.
    """
    ends = (since + DRAIN_LIMIT_S - times.now for since in times.draining_since.values())
    waits = [wait_s for wait_s in ends if wait_s > 0]
    waits += [change.retry_in_s for change in changes if change.retry_in_s is not None]
    waits += [judged.changes_in_s] if judged.changes_in_s is not None else []
    return min([PERIOD_S, *waits])
