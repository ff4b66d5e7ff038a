"""Every service as it should be now: the next record of its update, and what each slot should have.

Pure. Here meet what people asked for, how far the last update was, what runs, and the clock; the
parts that decide are rollout, jobs, versions and dependencies.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from scheduler import cron, homes
from scheduler.allocs import Alloc, Asked
from scheduler.changes import Mark, Times
from scheduler.dependencies import waits_for
from scheduler.images import why_no_image
from scheduler.jobs import advance_job, plan_job
from scheduler.look import Seen, look
from scheduler.memory import Memory
from scheduler.nodes import Judged
from scheduler.ports import is_crowded
from scheduler.rollout import Progress, Wish, advance, marked, wanted, watch_s
from scheduler.story import Now
from scheduler.strategy import is_alike, order_of, policy_of
from scheduler.versions import Step, begins_in_s, plan_slots, slots_of
from scheduler.world import ServiceId, World
from shared.model import (
    Order,
    Rollout,
    RolloutPhase,
    ServiceName,
    ServiceSpec,
    StackName,
    Want,
)


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One service as it should be now.

    Attributes:
        asked: what each slot should have.
        rollout: the record to write; None: it is removed.
        mark: when its update got further last.
        wake_in_s: when time alone will change any of it.
    """

    asked: Asked
    rollout: Rollout | None = None
    mark: Mark | None = None
    wake_in_s: float | None = None


class Around(msgspec.Struct, frozen=True, kw_only=True):
    """What all services of one pass have in common."""

    world: World
    judged: Judged
    memory: Memory
    now: Now
    times: Times
    allocs: Mapping[ServiceId, Sequence[Alloc]]
    claimed: Mapping[ServiceId, Mapping[int, int]]
    leaving: Mapping[ServiceId, frozenset[int]]

    def own(self, key: ServiceId) -> Sequence[Alloc]:
        """Return a service's allocations, standbys left out."""
        found = self.allocs.get(key, ())
        return [alloc for alloc in found if alloc.assignment.want is not Want.STANDBY]

    def of_stack(self, stack: StackName) -> Mapping[ServiceName, Sequence[Alloc]]:
        """Return the allocations of all services of a stack."""
        return {key[1]: found for key, found in self.allocs.items() if key[0] == stack}


def services_of(
    world: World,
    judged: Judged,
    allocs: Mapping[ServiceId, Sequence[Alloc]],
    memory: Memory,
    times: Times,
    now: Now,
) -> Mapping[ServiceId, Service]:
    """Return every service that is asked for or still has allocations, in order.

    Frozen stacks are left out.
    """
    claimed: dict[ServiceId, dict[int, int]] = defaultdict(dict)
    for (stack, service, slot), epoch in world.epochs.items():
        claimed[stack, service][slot] = epoch
    around = Around(
        world=world,
        judged=judged,
        memory=memory,
        now=now,
        times=times,
        allocs=allocs,
        claimed=claimed,
        leaving=homes.leaving(world, judged),
    )
    wishes = {wish_key(wish): wish for wish in _wishes(world, now)}
    frozen = world.frozen_stacks
    found = {
        key: _service(around, key, wishes.get(key))
        for key in sorted(wishes.keys() | allocs.keys() | world.rollouts.keys())
        if key[0] not in frozen
    }
    return {key: each for key, each in found.items() if _matters(world, key, each, allocs)}


def _matters(
    world: World, key: ServiceId, service: Service, allocs: Mapping[ServiceId, Sequence[Alloc]]
) -> bool:
    return service.rollout is not None or key in allocs or key in world.rollouts


def wish_key(wish: Wish) -> ServiceId:
    """Return whose wish it is."""
    return wish.stack, wish.service


def _wishes(world: World, now: Now) -> Iterable[Wish]:
    for name, state in world.stacks.items():
        for spec in state.stack.services:
            yield Wish(
                stack=name,
                service=spec.name,
                spec=spec,
                generation=state.stack.generation,
                ruling=state.stack.rulings.get(spec.name),
                wall_s=now.wall_s,
            )


def _service(around: Around, key: ServiceId, wish: Wish | None) -> Service:
    base = Asked(
        stack=key[0],
        service=key[1],
        claimed=around.claimed.get(key, {}),
        leaving=around.leaving.get(key, frozenset()),
    )
    if wish is None:
        return Service(asked=base)
    state = around.world.rollouts.get(key)
    rollout = wanted(state.rollout if state is not None else None, wish)
    if wish.spec.mode.is_job:
        return _job(around, base, rollout, wish)
    return _lasting(around, base, rollout)


def _job(around: Around, base: Asked, rollout: Rollout, wish: Wish) -> Service:
    key = (base.stack, base.service)
    own = around.own(key)
    where = homes.of_service(around.world, around.judged, rollout.target, own)
    numbers = slots_of(rollout.target, where.slots)
    waits = waits_for(around.world, base.stack, rollout.target, around.of_stack(base.stack))
    after = rollout if waits else advance_job(rollout, wish, own, len(numbers))
    plans = plan_job(after, numbers, waits)
    if after.phase is RolloutPhase.DONE:
        # What has ended is not begun again because its node was removed, and its record with it.
        there = {alloc.assignment.slot for alloc in own}
        plans = {slot: plan for slot, plan in plans.items() if slot in there}
    schedule = after.target.schedule
    next_s = cron.due(schedule, around.now.wall_s).next_s if schedule is not None else None
    asked = msgspec.structs.replace(base, spec=after.target, slots=where.pinned(plans))
    return Service(
        asked=asked,
        rollout=after,
        wake_in_s=max(next_s - around.now.wall_s, 0.0) if next_s is not None else None,
    )


def _lasting(around: Around, base: Asked, rollout: Rollout) -> Service:
    """Return a service whose copies are not meant to end."""
    own = around.own((base.stack, base.service))
    where = homes.of_service(around.world, around.judged, rollout.spec, own)
    if rollout.is_settled:
        # Nothing of it is watched: that would be most of the work of a quiet cluster.
        plans = plan_slots(rollout, own, Seen(), Step(homes=where.slots, closed=where.closed))
        asked = msgspec.structs.replace(
            base,
            spec=rollout.spec,
            slots=plans,
            standby_spec=rollout.spec,
            is_crowded=_is_crowded(around, rollout),
        )
        return Service(asked=asked, rollout=rollout)
    return _updating(around, base, rollout, own, where)


def _updating(
    around: Around, base: Asked, rollout: Rollout, own: Sequence[Alloc], where: homes.Homes
) -> Service:
    key, now = (base.stack, base.service), around.times.now
    waits = waits_for(around.world, base.stack, rollout.target, around.of_stack(base.stack))
    seen, mark = _far(around, key, rollout, own)
    image_waits, broken = _image(around, rollout, own)
    progress = Progress(
        seen=seen,
        slots=frozenset(slots_of(rollout.spec, where.slots)) - where.shut,
        still_s=now - mark.since,
        blocked=waits or around.memory.unplaced.get(key, "") or image_waits,
        broken=broken,
    )
    after = advance(rollout, progress)
    if after != rollout:
        where = homes.of_service(around.world, around.judged, after.spec, own)
        seen, mark = _far(around, key, after, own)
    step = Step(
        still_s=now - mark.since,
        waits_for=waits if not after.is_back else "",
        homes=where.slots,
        closed=where.closed,
    )
    asked = msgspec.structs.replace(
        base,
        spec=after.spec,
        slots=plan_slots(after, own, seen, step),
        standby_spec=_standby_spec(after),
        trial=_trial(after),
        proven=seen.proven,
        is_crowded=_is_crowded(around, after),
        image_waits=image_waits,
    )
    return Service(asked=asked, rollout=after, mark=mark, wake_in_s=_wake_in_s(after, seen, step))


def _far(
    around: Around, key: ServiceId, rollout: Rollout, own: Sequence[Alloc]
) -> tuple[Seen, Mark]:
    seen = look(rollout, own, around.times)
    return seen, marked(around.memory.marks.get(key), rollout, seen, around.times.now)


def _trial(rollout: Rollout) -> ServiceSpec | None:
    """Return the version that has to prove itself: another than the one that came up whole."""
    is_new = rollout.stable is not None and not is_alike(rollout.stable, rollout.target)
    return rollout.target if is_new and not rollout.is_settled and not rollout.is_back else None


def _standby_spec(rollout: Rollout) -> ServiceSpec:
    """Return the version of standbys: the one that came up whole, while another is tried."""
    spec = rollout.spec
    if rollout.is_settled or rollout.stable is None or is_alike(rollout.stable, spec):
        return spec
    return rollout.stable


def _is_crowded(around: Around, rollout: Rollout) -> bool:
    return is_crowded(around.world, around.judged.verdicts, rollout.spec)


def _image(around: Around, rollout: Rollout, own: Sequence[Alloc]) -> tuple[str, str]:
    """Return why a new image is nowhere yet, and why it never will be; for what stops first."""
    spec = rollout.spec
    is_tried = not rollout.is_settled and rollout.stable is not None
    is_first = order_of(spec) is Order.STOP_FIRST or _is_crowded(around, rollout)
    if not is_tried or not is_first:
        return "", ""
    nodes = homes.of_volumes(around.world, spec) or {alloc.node for alloc in own}
    return why_no_image(around.world, spec, nodes)


def _wake_in_s(rollout: Rollout, seen: Seen, step: Step) -> float | None:
    """Return when time alone takes the update further."""
    if rollout.is_settled or rollout.phase is RolloutPhase.PAUSED:
        return None
    policy = policy_of(rollout)
    spans = [watch_s(rollout), policy.progress_deadline_s]
    if rollout.phase is RolloutPhase.CANARY and rollout.target.update.auto_promote_s is not None:
        spans.append(rollout.target.update.auto_promote_s)
    ends = [span - step.still_s for span in spans if span > step.still_s]
    ends += [each for each in (seen.wake_in_s, begins_in_s(rollout, seen, step)) if each]
    return min(ends, default=None)
