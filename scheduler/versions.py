"""Which slot of a service should have which version now.

Pure. An update moves through a service slot by slot: a slot that has the new version, or may begin
with it, is asked to have it; every other one is asked to keep the old. What brings a slot from one
to the other is scheduler.orchestrate's, which knows of no update.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from scheduler.allocs import Alloc, SlotPlan
from scheduler.look import Seen
from scheduler.strategy import is_alike, is_canary, policy_of
from shared.model import NodeName, Rollout, RolloutPhase, ServiceSpec

P = RolloutPhase


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """What else decides whether another slot may begin.

    Attributes:
        still_s: for how long no slot got further.
        waits_for: which other service is not far enough, a sentence; empty: none.
        homes: of a global service: the node of each slot; None: slots are numbers.
        closed: of those nodes, the ones that take nothing new, with why.
    """

    still_s: float = 0.0
    waits_for: str = ""
    homes: Mapping[int, NodeName] | None = None
    closed: Mapping[NodeName, str] = {}


def slots_of(spec: ServiceSpec, homes: Mapping[int, NodeName] | None) -> Sequence[int]:
    """Return the slots that a version has, in order."""
    if spec.is_stopped:
        return ()
    return sorted(homes) if homes is not None else range(1, spec.replicas + 1)


def plan_slots(
    rollout: Rollout, allocs: Sequence[Alloc], seen: Seen, step: Step
) -> Mapping[int, SlotPlan]:
    """Return what each slot should have now.

    Args:
        rollout: the record as it will be written.
        allocs: the service's, standbys left out.
        seen: how far its slots are.
        step: see there.
    """
    new, old = rollout.spec, rollout.target if rollout.is_back else rollout.stable
    numbers = slots_of(new, step.homes)
    if rollout.is_settled or old is None or is_alike(old, new):
        versions = _at_once(new, numbers, allocs, seen, step)
    else:
        versions = _one_by_one(rollout, old, numbers, allocs, seen, step)
    return {slot: _placed(plan, slot, step) for slot, plan in sorted(versions.items())}


def _placed(plan: SlotPlan, slot: int, step: Step) -> SlotPlan:
    if step.homes is None:
        return plan
    node = step.homes.get(slot)
    why = step.closed.get(node, "") if node is not None else ""
    if why:
        return msgspec.structs.replace(plan, node=node, waits_for=plan.waits_for or why)
    return msgspec.structs.replace(plan, node=node)


def _at_once(
    new: ServiceSpec, numbers: Iterable[int], allocs: Iterable[Alloc], seen: Seen, step: Step
) -> dict[int, SlotPlan]:
    """Return the new version for every slot: nothing that runs has to go for it."""
    known = {alloc.assignment.slot for alloc in allocs} | seen.begun
    return {
        slot: SlotPlan(spec=new, waits_for="" if slot in known else step.waits_for)
        for slot in numbers
    }


def _one_by_one(
    rollout: Rollout,
    old: ServiceSpec,
    numbers: Sequence[int],
    allocs: Sequence[Alloc],
    seen: Seen,
    step: Step,
) -> dict[int, SlotPlan]:
    new = rollout.spec
    canaries = rollout.target.update.canary if is_canary(rollout) else 0
    before = set(slots_of(old, step.homes))
    begin = _beginning(rollout, numbers, allocs, seen, step)
    between = _between(allocs, (old, new))
    plans: dict[int, SlotPlan] = {}
    for slot in numbers:
        if slot in seen.begun or slot in begin:
            plans[slot] = SlotPlan(spec=new, keeps_old=slot <= canaries)
        elif slot in between:
            plans[slot] = SlotPlan(spec=None)
        elif slot in before:
            plans[slot] = SlotPlan(spec=old)
        else:
            plans[slot] = SlotPlan(spec=new, waits_for=_why_not_yet(rollout, step))
    if not seen.settled >= set(numbers):
        # What is no longer asked for goes last: until then it serves.
        for slot in before - set(numbers):
            plans[slot] = SlotPlan(spec=old)
    return plans


def _between(allocs: Iterable[Alloc], versions: Sequence[ServiceSpec]) -> AbstractSet[int]:
    """Return the slots that serve with yet another version, of an update that was overtaken.

    They wait for their turn as they are: all of them at once back to the old version would be a
    second update beside this one.
    """
    known: set[int] = set()
    others: set[int] = set()
    for alloc in allocs:
        if alloc.serves and not alloc.must_leave:
            found = known if any(map(alloc.has, versions)) else others
            found.add(alloc.assignment.slot)
    return others - known


def _why_not_yet(rollout: Rollout, step: Step) -> str:
    return step.waits_for or f"its turn comes later: the update is {rollout.phase}"


def _beginning(
    rollout: Rollout,
    numbers: Sequence[int],
    allocs: Sequence[Alloc],
    seen: Seen,
    step: Step,
) -> AbstractSet[int]:
    """Return the slots that may begin with the new version now."""
    if step.waits_for or rollout.phase in {P.CANARY, P.PAUSED, P.DONE, P.ROLLED_BACK}:
        return frozenset()
    policy = policy_of(rollout)
    left = [slot for slot in numbers if slot not in seen.begun]
    if is_canary(rollout):
        return {slot for slot in left if slot <= rollout.target.update.canary}
    is_first = not seen.settled & set(numbers)
    if step.still_s < policy.delay_s and not is_first:
        return frozenset()
    under_way = sum(slot in seen.begun and slot not in seen.settled for slot in numbers)
    free = len(left) if not policy.parallelism else max(policy.parallelism - under_way, 0)
    ready = {alloc.assignment.slot for alloc in allocs if alloc.serves}
    # A slot that serves nobody has nothing to lose.
    return frozenset(sorted(left, key=lambda slot: (slot in ready, slot))[:free])


def begins_in_s(rollout: Rollout, seen: Seen, step: Step) -> float | None:
    """Return when time alone lets another slot begin; None: it does not depend on time."""
    left_s = policy_of(rollout).delay_s - step.still_s
    return left_s if seen.settled and not rollout.is_settled and left_s > 0 else None
