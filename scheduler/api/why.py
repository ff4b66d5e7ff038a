"""Why an allocation or a service is as it is: facts, the most telling first.

Pure.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from scheduler.allocs import Alloc, allocs_of
from scheduler.api.placed import Placed
from scheduler.api.progress import Stand, state_of, waiting
from scheduler.api.unread import is_unread, unread
from scheduler.api.views import is_fresh, is_updated, rollout_of, wanted
from scheduler.dependencies import waits_for
from scheduler.nodes import Judged
from shared.api import Fact, WhyView
from shared.model import (
    AllocId,
    Assignment,
    EndpointState,
    Event,
    Rollout,
    RolloutPhase,
    ServiceName,
    ServiceSpec,
)

# The last things that happened to it; `hafen events` has the others.
_EVENTS_SHOWN_MAX: Final = 5
_WAITING_SHOWN_MAX: Final = 20


class Scene(msgspec.Struct, frozen=True):
    """Where a stack is, what its nodes are held for, and the cluster's story, oldest first."""

    stand: Stand
    judged: Judged
    story: Sequence[Event] = ()


def why_allocation(scene: Scene, one: Placed) -> WhyView:
    """Return why an allocation is where it is and as it is."""
    view = one.view
    assignment = _assignment(scene.stand, view.id)
    facts = [
        *(_placed(assignment) if assignment is not None else [_gone()]),
        Fact(about="node", sentence=_node(scene.judged, one)),
        Fact(about="state", sentence=_state(one)),
        *_version(scene.stand, one),
        *_gateway(scene.stand, view.id),
        *_events(scene.story, f"{view.stack}.{view.service}.{view.slot}"),
    ]
    return WhyView(subject=f"allocation {view.id}", facts=tuple(facts))


def _assignment(stand: Stand, id_: AllocId) -> Assignment | None:
    found = (one for node in stand.world.nodes.values() for one in node.assignments)
    return next((one for one in found if one.id == id_), None)


def _placed(assignment: Assignment) -> Iterator[Fact]:
    sentence = assignment.reason or "for a reason that was not kept"
    yield Fact(about="placed", sentence=f"{sentence} (at revision {assignment.epoch})")
    if assignment.attempt:
        sentence = f"{assignment.attempt} of its slot failed in a row before it"
        yield Fact(about="attempt", sentence=sentence)


def _gone() -> Fact:
    return Fact(about="placed", sentence="it is not asked for any more, and goes")


def _node(judged: Judged, one: Placed) -> str:
    name = one.view.node
    why = judged.reasons.get(name, "")
    return f"{name} is {one.verdict}" + (f": {why}" if why else "")


def _state(one: Placed) -> str:
    view = one.view
    parts = [state_of(view)]
    if view.restarts:
        parts.append(f"started again {view.restarts} times")
    if view.exit_code is not None:
        parts.append(f"its last exit code was {view.exit_code}")
    return ", ".join(parts) + (f": {view.reason}" if view.reason else "")


def _version(stand: Stand, one: Placed) -> Iterator[Fact]:
    spec = stand.specs.get(one.view.service)
    if is_unread(stand.world, stand.stack):
        yield Fact(about="version", sentence=unread(stand.stack))
    elif spec is None:
        yield Fact(about="version", sentence="its service is not asked for any more")
    elif one.workload is not None and not is_fresh(one, spec):
        rollout = rollout_of(stand.world, stand.stack, spec.name)
        phase = f", whose update is {rollout.phase}" if rollout is not None else ""
        yield Fact(about="version", sentence=f"it is not what is asked for now{phase}")


def _gateway(stand: Stand, id_: AllocId) -> Iterator[Fact]:
    published = stand.world.routes.get(stand.stack)
    if published is None:
        return
    states = [
        endpoint.state
        for service in published.routes.services
        for endpoint in service.endpoints
        if endpoint.allocation == id_
    ]
    words = {EndpointState.READY: "send to it", EndpointState.DRAINING: "send it nothing new"}
    said = words.get(states[0] if states else EndpointState.PRESENT, "send nothing to it")
    yield Fact(about="gateways", sentence=f"they {said}")


# ---------------------------------------------------------------- services


def why_service(scene: Scene, service: ServiceName) -> WhyView:
    """Return why a service is as it is, and what it waits for."""
    stand = scene.stand
    spec = stand.specs.get(service)
    facts = [
        *(_asked(stand, spec) if spec is not None else [_not_asked()]),
        *_rollout(rollout_of(stand.world, stand.stack, service)),
        *(_depends(scene, spec) if spec is not None else ()),
        *(
            Fact(about="waits", sentence=sentence)
            for sentence in waiting(stand).get(service, ())[:_WAITING_SHOWN_MAX]
        ),
        *_events(scene.story, f"{stand.stack}.{service}"),
    ]
    return WhyView(subject=f"service {stand.stack}.{service}", facts=tuple(facts))


def _asked(stand: Stand, spec: ServiceSpec) -> Iterator[Fact]:
    own = [one for one in stand.own if one.view.service == spec.name]
    if spec.is_stopped:
        sentence = f"it is stopped; `hafen start {stand.stack}.{spec.name}` runs it again"
        yield Fact(about="asked", sentence=sentence)
        return
    ready = sum(is_updated(one, spec) for one in own)
    sentence = f"{ready} of {wanted(spec, own)} are ready as asked for now ({spec.mode})"
    yield Fact(about="asked", sentence=sentence)


def _not_asked() -> Fact:
    return Fact(about="asked", sentence="it is not asked for any more; what is left of it goes")


def _rollout(rollout: Rollout | None) -> Iterator[Fact]:
    if rollout is None:
        yield Fact(about="update", sentence="the leader has not begun it yet")
        return
    why = f": {rollout.reason}" if rollout.reason else ""
    sentence = f"that of generation {rollout.generation} is {rollout.phase}{why}"
    yield Fact(about="update", sentence=sentence)
    if rollout.phase in {RolloutPhase.CANARY, RolloutPhase.PAUSED}:
        name = f"{rollout.stack}.{rollout.service}"
        sentence = f"for a word: `hafen promote {name}` or `hafen abort {name}`"
        yield Fact(about="waits", sentence=sentence)


def _depends(scene: Scene, spec: ServiceSpec) -> Iterator[Fact]:
    world, stack = scene.stand.world, scene.stand.stack
    sentence = waits_for(world, stack, spec, _by_service(scene))
    if sentence:
        yield Fact(about="waits", sentence=sentence.removeprefix("waits "))


def _by_service(scene: Scene) -> Mapping[ServiceName, Sequence[Alloc]]:
    found: dict[ServiceName, list[Alloc]] = {}
    for alloc in allocs_of(scene.stand.world, scene.judged):
        if alloc.assignment.stack == scene.stand.stack:
            found.setdefault(alloc.assignment.service, []).append(alloc)
    return found


def _events(story: Iterable[Event], subject: str) -> Iterator[Fact]:
    own = [
        event
        for event in story
        if event.subject == subject or event.subject.startswith(f"{subject}.")
    ]
    for event in own[-_EVENTS_SHOWN_MAX:]:
        where = f" on {event.node}" if event.node else ""
        yield Fact(about="event", sentence=f"{event.kind} {event.subject}{where}: {event.reason}")
