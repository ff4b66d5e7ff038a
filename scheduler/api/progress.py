"""How far a change of a stack is, and what a person must mend before it can go on.

Pure. What stands in the way for a moment is only said; what stands there for `PATIENCE_S` blocks. A
failed replica is tried again, so it comes and goes: it counts from its first failure until its slot
is ready. A slot without a node counts from when it last had one.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

import msgspec

from scheduler.api.amend import WAITING
from scheduler.api.placed import Placed
from scheduler.api.views import Waiting, is_fresh, is_updated, rollout_of, stack_services, wanted
from scheduler.explain import Unplaced
from scheduler.nodes import Verdict, Verdicts
from scheduler.world import RoutesState, World
from shared.api import AllocationView, SlotView, StackProgress
from shared.model import (
    AllocId,
    Availability,
    EndpointState,
    NodeName,
    Rollout,
    RolloutPhase,
    ServiceName,
    ServiceSpec,
    StackName,
)
from shared.states import TERMINAL, AllocState

# Phases that nothing but a person, or another deploy, leads out of; a canary's time may, too.
_ENDED: Final = WAITING | {RolloutPhase.DONE, RolloutPhase.ROLLED_BACK, RolloutPhase.FAILED}
# A container that starts badly fails again within this; a pull of an image is not a failure.
PATIENCE_S: Final = 5.0
_GATEWAYS_SHOWN_MAX: Final = 5

Slot = tuple[ServiceName, int]


class Obstacle(msgspec.Struct, frozen=True):
    """A sentence that says what is in the way, and since when, by the caller's monotonic clock."""

    sentence: str
    since_s: float


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """What one reader of a progress stream has seen so far."""

    failures: Mapping[Slot, Obstacle] = {}
    unplaced: Mapping[ServiceName, float] = {}


class Stand(msgspec.Struct, frozen=True, kw_only=True):
    """Where a stack is at one moment.

    Attributes:
        found: every allocation of the cluster.
        unplaced: what no node takes.
    """

    world: World
    verdicts: Verdicts
    stack: StackName
    found: Sequence[Placed]
    unplaced: Unplaced = Unplaced()

    @property
    def specs(self) -> Mapping[ServiceName, ServiceSpec]:
        """Return what is asked for; empty once the stack is removed."""
        state = self.world.stacks.get(self.stack)
        return {spec.name: spec for spec in state.stack.services} if state is not None else {}

    @property
    def own(self) -> tuple[Placed, ...]:
        """Return the stack's allocations that are there."""
        return tuple(one for one in self.found if one.view.stack == self.stack and one.is_there)


def failures(stand: Stand) -> Mapping[Slot, str]:
    """Return why slots of the newest generation fail, one sentence each."""
    return {
        (one.view.service, one.view.slot): _why_failed(one)
        for one in stand.own
        if one.view.state is AllocState.FAILED and _is_fresh(stand, one)
    }


def _is_fresh(stand: Stand, one: Placed) -> bool:
    spec = stand.specs.get(one.view.service)
    return spec is not None and is_fresh(one, spec)


def _why_failed(one: Placed) -> str:
    view = one.view
    again = f" (attempt {one.attempt + 1})" if one.attempt else ""
    return f"{view.service} {view.slot} failed on {view.node}{again}: {view.reason or 'no reason'}"


def observe(patience: Patience, stand: Stand, now: float) -> Patience:
    """Return what the reader has seen after looking at `stand` at `now` (monotonic seconds)."""
    ready = {
        (one.view.service, one.view.slot)
        for one in stand.own
        if (spec := stand.specs.get(one.view.service)) is not None and is_updated(one, spec)
    }
    asked = {
        (spec.name, slot) for spec in stand.specs.values() for slot in range(1, spec.replicas + 1)
    }
    kept = {
        slot: obstacle
        for slot, obstacle in patience.failures.items()
        if slot in asked and slot not in ready
    }
    seen = {
        slot: Obstacle(sentence, kept[slot].since_s if slot in kept else now)
        for slot, sentence in failures(stand).items()
        if slot in asked and slot not in ready
    }
    return Patience(
        failures=kept | seen,
        unplaced={service: patience.unplaced.get(service, now) for service in stand.unplaced.slots},
    )


def blocked(patience: Patience, stand: Stand, now: float) -> tuple[str, ...]:
    """Return what has been in the way for longer than anybody should wait, sorted."""
    failed = (
        obstacle.sentence
        for obstacle in patience.failures.values()
        if now - obstacle.since_s >= PATIENCE_S
    )
    unplaced = (
        f"{service}: {sentence}"
        for service, since_s in patience.unplaced.items()
        if now - since_s >= PATIENCE_S
        for sentence in stand.unplaced.slots.get(service, ())
    )
    return tuple(sorted({*failed, *unplaced}))


def progress(patience: Patience, stand: Stand, now: float) -> StackProgress:
    """Return how far the stack is."""
    state = stand.world.stacks.get(stand.stack)
    return StackProgress(
        stack=stand.stack,
        generation=state.stack.generation if state is not None else 0,
        services=tuple(
            msgspec.structs.replace(one, slots=slots(stand, one.service))
            for one in stack_services(
                stand.world, stand.stack, stand.found, waiting(stand, patience.failures)
            )
        ),
        done=is_done(stand),
        blocked=() if is_done(stand) else blocked(patience, stand, now),
    )


def slots(stand: Stand, service: ServiceName) -> tuple[SlotView, ...]:
    """Return a service's allocations, slot by slot, the old one of a slot first."""
    views = [
        SlotView(
            slot=one.view.slot,
            node=one.view.node,
            allocation=one.view.id,
            version=_version(stand, one),
            state=state_of(one.view),
        )
        for one in stand.own
        if one.view.service == service
    ]
    return tuple(sorted(views, key=lambda one: (one.slot, one.version == "new", one.allocation)))


def _version(stand: Stand, one: Placed) -> str:
    if one.workload is None:
        return ""
    return "new" if _is_fresh(stand, one) else "old"


def state_of(one: AllocationView) -> str:
    """Return an allocation's state in one word, with its health while it runs."""
    if one.draining:
        return "draining"
    if one.standby:
        return "standby"
    return one.health.value if one.state is AllocState.RUNNING else one.state.value


def waiting(stand: Stand, failed: Mapping[Slot, Obstacle] | None = None) -> Waiting:
    """Return what is in the way of each service at this moment, one sentence each, sorted."""
    sentences: dict[ServiceName, set[str]] = {}
    for said in (stand.unplaced.slots, stand.unplaced.standbys, stand.unplaced.waits):
        for service, found in said.items():
            sentences.setdefault(service, set()).update(found)
    said_so = {slot: obstacle.sentence for slot, obstacle in (failed or {}).items()}
    for (service, _), sentence in (said_so | dict(failures(stand))).items():
        # One that goes back says itself why, and what failed is no longer waited for.
        if not _is_back(stand, service):
            sentences.setdefault(service, set()).add(sentence)
    for service, sentence in chain(_held_up(stand), _gateways(stand)):
        sentences.setdefault(service, set()).add(sentence)
    return {service: tuple(sorted(said)) for service, said in sorted(sentences.items())}


def _is_back(stand: Stand, service: ServiceName) -> bool:
    rollout = rollout_of(stand.world, stand.stack, service)
    return rollout is not None and rollout.is_back


def _held_up(stand: Stand) -> Iterator[tuple[ServiceName, str]]:
    """Yield what is made and may not be started yet: exclusive work that waits for its claim."""
    for one in stand.own:
        view = one.view
        is_held_up = view.state is AllocState.PREPARING and bool(view.reason)
        if is_held_up and not view.standby and one.verdict.is_sound:
            yield view.service, f"slot {view.slot} on {view.node} {view.reason}"


def is_placed(stand: Stand) -> bool:
    """Say whether every slot and standby of the newest generation has a node, in use or not."""
    return all(_has_places(stand, spec) for spec in stand.specs.values())


def _has_places(stand: Stand, spec: ServiceSpec) -> bool:
    asked = wanted(spec, [one for one in stand.own if one.view.service == spec.name])
    return _count(stand, spec, standby=False) >= asked and (
        _count(stand, spec, standby=True) >= spec.standby or asked == 0
    )


def _count(stand: Stand, spec: ServiceSpec, *, standby: bool) -> int:
    return sum(
        one.view.service == spec.name
        and is_fresh(one, spec)
        and one.view.standby is standby
        and not _must_leave(stand, one)
        for one in stand.own
    )


def _must_leave(stand: Stand, one: Placed) -> bool:
    """Say whether its node is being drained; what ends there by itself is where it should be."""
    node = stand.world.nodes.get(one.view.node)
    is_drained = node is not None and node.spec.availability is Availability.DRAINING
    return is_drained and one.view.state not in TERMINAL


def is_done(stand: Stand) -> bool:
    """Say whether nothing will happen any more by itself.

    All that is asked for runs, nothing else does, and every gateway knows; or a service's update
    has ended otherwise, or waits for a person's word.
    """
    if stand.stack not in stand.world.stacks:
        return not stand.own and stand.stack not in stand.world.routes
    if not all(_is_through(stand, spec) for spec in stand.specs.values()):
        return False
    if any(_has_stopped(stand, name) for name in stand.specs):
        return True  # What fails is tried on and on: it is never at rest.
    return not any(_is_left_over(stand, one) for one in stand.own) and not _gateways(stand)


def _is_through(stand: Stand, spec: ServiceSpec) -> bool:
    own = [one for one in stand.own if one.view.service == spec.name]
    rollout = rollout_of(stand.world, stand.stack, spec.name)
    if rollout is not None:
        # A scheduled job waits for its time: it is as it should be.
        is_over = rollout.phase in _ENDED or spec.schedule is not None
        return is_over and _is_of(stand, spec, rollout)
    ready = sum(is_updated(one, spec) for one in own)
    return ready == wanted(spec, own) == sum(not one.view.standby for one in own)


def _has_stopped(stand: Stand, service: ServiceName) -> bool:
    rollout = rollout_of(stand.world, stand.stack, service)
    return rollout is not None and rollout.phase in {RolloutPhase.FAILED, RolloutPhase.PAUSED}


def _is_of(stand: Stand, spec: ServiceSpec, rollout: Rollout) -> bool:
    """Say whether an update is that of what is asked for now, with every word on it heard."""
    stack = stand.world.stacks[stand.stack].stack
    ruling = stack.rulings.get(spec.name)
    is_unheard = (
        ruling is not None
        and ruling.generation == rollout.generation
        and ruling.number > rollout.ruled
    )
    # One that went back is begun again by the next deploy, even of the same.
    is_begun_again = rollout.is_back and stack.generation > rollout.generation
    return rollout.target == spec and not is_unheard and not is_begun_again


def _is_left_over(stand: Stand, one: Placed) -> bool:
    return one.view.draining or one.view.service not in stand.specs


def _gateways(stand: Stand) -> tuple[tuple[ServiceName, str], ...]:
    """Return the services whose ready replicas some living node's gateway does not serve yet."""
    published = stand.world.routes.get(stand.stack)
    behind = _behind(stand, published)
    found: list[tuple[ServiceName, str]] = []
    for spec in stand.specs.values():
        if not (spec.workload.ports or spec.workload.networks or spec.routes):
            continue
        ready = {
            one.view.id
            for one in stand.own
            # What has ended well is sent nothing.
            if one.view.service == spec.name and one.is_ready and is_fresh(one, spec)
        }
        if ready - _routed(published, spec.name):
            found.append((spec.name, "its new replicas are not routed to yet"))
        if behind:
            found.append((spec.name, _not_taken_over(behind)))
    return tuple(found)


def _not_taken_over(behind: Sequence[NodeName]) -> str:
    if len(behind) == 1:
        return f"the gateway of {behind[0]} has not taken over its routes yet"
    shown = ", ".join(behind[:_GATEWAYS_SHOWN_MAX])
    return f"{len(behind)} gateways have not taken over its routes yet: {shown}"


def _routed(published: RoutesState | None, service: ServiceName) -> frozenset[AllocId]:
    if published is None:
        return frozenset()
    return frozenset(
        endpoint.allocation
        for routes in published.routes.services
        if routes.service == service
        for endpoint in routes.endpoints
        if endpoint.state is EndpointState.READY
    )


def _behind(stand: Stand, published: RoutesState | None) -> tuple[NodeName, ...]:
    if published is None:
        return ()
    return tuple(
        name
        for name, node in sorted(stand.world.nodes.items())
        if stand.verdicts.get(name, Verdict.SUSPECT).is_sound
        and (node.report is None or node.report.acked.get(stand.stack, 0) < published.revision)
    )
