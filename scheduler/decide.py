"""The leader's whole decision: world and memory in, plan and memory out.

Pure, total and deterministic. Every pass compares whole with whole; what changed does not matter.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from scheduler.memory import Memory, remember
from scheduler.nodes import Verdict, grace_s, verdicts
from scheduler.orchestrate import (
    DRAIN_LIMIT_S,
    Alloc,
    Asked,
    Changes,
    Times,
    Wanted,
    allocs_of,
    orchestrate,
)
from scheduler.place import Bound, Candidate, Request, Unplaceable, minus, place
from scheduler.plan import Plan, Write
from scheduler.routes import drained, routes_of
from scheduler.world import NodeState, World
from shared import codec, keys
from shared.model import (
    AllocId,
    Assignment,
    Event,
    Manifest,
    NodeName,
    Revision,
    ServiceName,
    StackName,
    Want,
    Workload,
)
from shared.settings import Detection
from shared.states import AllocState

# Heals what an event missed; a quiet cluster writes nothing all the same.
PERIOD_S: Final = 10.0
_SILENT: Final = frozenset({Verdict.SUSPECT, Verdict.LOST})
# What an assignment has besides its workload, generously: ids, names, numbers.
_ASSIGNMENT_BYTES: Final = 512
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class Now(msgspec.Struct, frozen=True):
    """The two clocks that a pass needs: monotonic for durations, wall for display."""

    monotonic_s: float
    wall_s: float


class Decision(msgspec.Struct, frozen=True):
    """What to write, what to remember, and which slots have no node."""

    plan: Plan
    memory: Memory
    unplaceable: tuple[Unplaceable, ...] = ()


class _Draft:
    """Manifests being changed; local to one call of `decide`."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.assignments = {name: list(node.assignments) for name, node in world.nodes.items()}
        self.reasons: dict[NodeName, list[str]] = defaultdict(list)
        self.home = {a.id: name for name, held in self.assignments.items() for a in held}

    def drop(self, id_: AllocId, reason: str) -> None:
        node = self.home.pop(id_, None)
        if node is None:
            return
        self.assignments[node] = [a for a in self.assignments[node] if a.id != id_]
        self.reasons[node].append(f"{id_} leaves: {reason}")

    def drain(self, id_: AllocId, reason: str) -> None:
        node = self.home[id_]
        self.assignments[node] = [
            msgspec.structs.replace(a, want=Want.DRAIN) if a.id == id_ else a
            for a in self.assignments[node]
        ]
        self.reasons[node].append(f"{id_} drains: {reason}")

    def add(self, node: NodeName, assignment: Assignment, reason: str) -> None:
        self.assignments[node].append(assignment)
        self.home[assignment.id] = node
        self.reasons[node].append(f"{assignment.id} comes: {reason}")


def decide(world: World, memory: Memory, now: Now, detection: Detection) -> Decision:
    """Return what the leader should write now.

    Args:
        world: everything under keys.ROOT at one revision.
        memory: what the pass before returned; a new leader hands in an empty one.
        now: the clocks.
        detection: how fast a silent node is given up.
    """
    memory = remember(memory, world, now.monotonic_s)
    if world.is_frozen:
        return Decision(Plan(wake_in_s=PERIOD_S), memory)
    judged = verdicts(world, memory.missing_since, now.monotonic_s, detection)
    allocs = allocs_of(world, judged)
    draft = _Draft(world)
    times = Times(now.monotonic_s, memory.failed_since, memory.draining_since)
    services = asked_services(world, allocs)
    changes = _orchestrate_all(world, services, allocs, times)
    for change in changes.values():
        for id_, reason in change.drop.items():
            draft.drop(id_, reason)
        for id_, reason in change.drain.items():
            draft.drain(id_, reason)
    bound, unplaceable = _place_all(world, judged, draft, services, changes)
    for request, node, wanted in bound:
        asked = services[_key(request)]
        for id_ in wanted.replaces:
            draft.drop(id_, wanted.reason)
        draft.add(node, _assignment(world, asked, wanted), wanted.reason)
    events = (*_node_events(world, memory, judged, now), *_placed_events(bound, now))
    writes = (*_manifest_writes(draft), *_routes_writes(world, services, draft, judged))
    wake = _wake_in_s(world, memory, changes.values(), now.monotonic_s, detection)
    return Decision(
        Plan(writes=writes, events=events, wake_in_s=wake),
        msgspec.structs.replace(memory, told=judged),
        unplaceable,
    )


ServiceId = tuple[StackName, ServiceName]


def asked_services(world: World, allocs: Iterable[Alloc]) -> Mapping[ServiceId, Asked]:
    """Return every service that is asked for or still has allocations.

    Frozen stacks are left out.
    """
    services = {
        (name, spec.name): Asked(name, spec.name, spec)
        for name, state in world.stacks.items()
        for spec in state.stack.services
    }
    for alloc in allocs:
        key = (alloc.assignment.stack, alloc.assignment.service)
        services.setdefault(key, Asked(*key, None))
    return {key: services[key] for key in sorted(services) if key[0] not in world.frozen_stacks}


def _orchestrate_all(
    world: World, services: Mapping[ServiceId, Asked], allocs: Sequence[Alloc], times: Times
) -> Mapping[ServiceId, Changes]:
    by_service: dict[ServiceId, list[Alloc]] = defaultdict(list)
    for alloc in allocs:
        by_service[alloc.assignment.stack, alloc.assignment.service].append(alloc)
    gone = drained(world, allocs)
    return {
        key: orchestrate(asked, by_service[key], gone, times) for key, asked in services.items()
    }


def _key(request: Request) -> ServiceId:
    return StackName(request.service[0]), ServiceName(request.service[1])


def _place_all(
    world: World,
    judged: Mapping[NodeName, Verdict],
    draft: _Draft,
    services: Mapping[ServiceId, Asked],
    changes: Mapping[ServiceId, Changes],
) -> tuple[list[tuple[Request, NodeName, Wanted]], tuple[Unplaceable, ...]]:
    wanted: dict[tuple[ServiceId, int], Wanted] = {}
    requests: list[Request] = []
    for key, change in changes.items():
        spec = services[key].spec
        for want in change.wanted:
            assert spec is not None, "only a service with a spec wants allocations"
            wanted[key, want.slot] = want
            requests.append(
                Request(
                    service=key,
                    slot=want.slot,
                    needs=spec.workload.reservations,
                    document_bytes=_document_bytes(spec.workload),
                    placement=spec.placement,
                    avoid=want.avoid,
                )
            )
    if not requests:
        return [], ()
    nodes = [
        candidate(node, draft.assignments[name])
        for name, node in world.nodes.items()
        if judged[name] is Verdict.READY
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


def candidate(node: NodeState, held: Sequence[Assignment]) -> Candidate | None:
    """Return `node` as placement sees it, or None while nobody knows what it has.

    An allocation that failed runs no more: it is in the manifest only to be remembered, and takes
    nothing.

    Args:
        node: the node.
        held: what it will hold, by its manifest.
    """
    if node.report is None:
        return None
    failed = {status.id for status in node.report.allocations if status.state is AllocState.FAILED}
    free = node.report.capacity
    replicas: dict[tuple[str, str], int] = {}
    for assignment in held:
        if assignment.id in failed:
            continue
        free = minus(free, assignment.workload.reservations)
        if assignment.want is Want.RUN:
            key = (str(assignment.stack), str(assignment.service))
            replicas[key] = replicas.get(key, 0) + 1
    return Candidate(
        spec=node.spec,
        capacity=node.report.capacity,
        free=free,
        document_bytes=sum(_document_bytes(assignment.workload) for assignment in held),
        replicas=replicas,
    )


def _document_bytes(workload: Workload) -> int:
    """Return how much an assignment of this workload adds to a manifest, at most."""
    return len(codec.encode(workload)) + _ASSIGNMENT_BYTES


def _assignment(world: World, asked: Asked, wanted: Wanted) -> Assignment:
    assert asked.spec is not None, "only a service with a spec gets allocations"
    return Assignment(
        id=alloc_id(asked, wanted.slot, world.revision),
        stack=asked.stack,
        service=asked.service,
        slot=wanted.slot,
        generation=world.stacks[asked.stack].stack.generation,
        workload=asked.spec.workload,
        attempt=wanted.attempt,
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


# ---------------------------------------------------------------- what is written


def _manifest_writes(draft: _Draft) -> Iterable[Write]:
    for name, node in draft.world.nodes.items():
        after = tuple(sorted(draft.assignments[name], key=lambda a: a.id))
        # A node without a manifest gets an empty one: absent means that etcd lost it, not "run
        # nothing".
        if node.manifest is not None and after == node.assignments:
            continue
        generation = node.manifest.generation + 1 if node.manifest is not None else 1
        yield Write(
            key=keys.desired(name),
            record=Manifest(node=name, generation=generation, assignments=after),
            decided_at=node.manifest_revision,
            reasons=tuple(draft.reasons[name]),
        )


def _routes_writes(
    world: World,
    services: Mapping[ServiceId, Asked],
    draft: _Draft,
    judged: Mapping[NodeName, Verdict],
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
    world: World, draft: _Draft, judged: Mapping[NodeName, Verdict]
) -> Mapping[StackName, Mapping[str, Sequence[Alloc]]]:
    """Return the allocations as they will be after the write, by stack and service."""
    after: dict[StackName, dict[str, list[Alloc]]] = defaultdict(lambda: defaultdict(list))
    for name, node in world.nodes.items():
        seen = {} if node.report is None else {each.id: each for each in node.report.allocations}
        for a in draft.assignments[name]:
            after[a.stack][a.service].append(Alloc(a, name, judged[name], seen.get(a.id)))
    for found in after.values():
        for allocs in found.values():
            allocs.sort(key=lambda alloc: alloc.id)
    return after


# ---------------------------------------------------------------- story and time


def _node_events(
    world: World, memory: Memory, judged: Mapping[NodeName, Verdict], now: Now
) -> Iterable[Event]:
    for name, verdict in judged.items():
        if world.nodes[name].report is None:
            continue  # It is joining: it has no story yet.
        before = memory.told.get(name, Verdict.READY)
        silent_s = now.monotonic_s - memory.missing_since.get(name, now.monotonic_s)
        if verdict is Verdict.LOST and before is not Verdict.LOST:
            yield _event("node_lost", name, f"its lease ended {silent_s:.1f} s ago", now)
        elif verdict is Verdict.SUSPECT and before not in _SILENT:
            yield _event("node_suspect", name, "its lease ended", now)
        elif verdict not in _SILENT and before in _SILENT:
            yield _event("node_back", name, "its agent has a lease again", now)


def _placed_events(bound: Iterable[tuple[Request, NodeName, Wanted]], now: Now) -> Iterable[Event]:
    for request, node, wanted in bound:
        subject = f"{request.service[0]}.{request.service[1]}.{request.slot}"
        yield Event(
            kind="placed", subject=subject, reason=wanted.reason, at_s=now.wall_s, node=node
        )


def _event(kind: str, node: NodeName, reason: str, now: Now) -> Event:
    return Event(kind=kind, subject=node, reason=reason, at_s=now.wall_s, node=node)


def _wake_in_s(
    world: World,
    memory: Memory,
    changes: Iterable[Changes],
    now: float,
    detection: Detection,
) -> float:
    """Return when time alone will change the decision: a grace, a backoff or a drain limit ends."""
    allowed = grace_s(len(memory.missing_since), len(world.nodes), detection)
    ends = [since + allowed for since in memory.missing_since.values()]
    ends += [since + DRAIN_LIMIT_S for since in memory.draining_since.values()]
    waits = [end - now for end in ends if end > now]
    waits += [change.retry_in_s for change in changes if change.retry_in_s is not None]
    return min([PERIOD_S, *waits])
