"""What a deploy would do: field by field, slot by slot, and why it cannot be.

Pure.
"""

import hashlib
from collections.abc import Callable, Collection
from typing import Final

import msgspec

from scheduler.api import checks
from scheduler.api.amend import uploaded
from scheduler.api.fields import network_changes, service_changes
from scheduler.api.network_checks import Ground
from scheduler.api.unread import newest
from scheduler.forecast import Forecast, Start, forecast
from scheduler.world import StackState
from shared import codec, keys
from shared.api import Happening, Move, PlanView, ServiceChange, StackUpload
from shared.errors import OvertakenError, UnplaceableError
from shared.model import Revision, Stack, StackName, runs_alike
from shared.timing import Timing

# Two plans of one stack at one revision differ in this many hexadecimal digits.
_DIGEST_CHARACTERS: Final = 12
_STEPS_SHOWN_MAX: Final = 10


def planned(
    start: Start,
    ground: Ground,
    name: StackName,
    upload: StackUpload,
    timing: Timing,
    is_over: Callable[[], bool],
) -> PlanView:
    """Return what would happen if `upload` were deployed now.

    Args:
        start: the cluster as it is.
        ground: what of that a stack must fit in.
        name: of the stack.
        upload: what would be deployed.
        timing: how fast a silent node is given up.
        is_over: says that there is no more time to think.

    Raises:
        SpecError: it could never run as it is.
    """
    state = start.world.stacks.get(name)
    stacks = {other: each.stack for other, each in start.world.stacks.items()}
    checks.check(name, upload, stacks, ground)
    before = state.stack if state is not None else None
    after = uploaded(name, before, upload)
    if after != before:
        known = max(after.generation, newest(start.world, name))
        after = msgspec.structs.replace(after, generation=known + 1)
    seen = forecast(_mended(start, name), after, timing, is_over)
    view = PlanView(
        plan_id="",
        stack=name,
        generation=before.generation if before is not None else 0,
        services=_services(before, after, seen),
        networks=network_changes(before.networks if before is not None else (), after.networks),
        steps=seen.steps,
        more=seen.more,
        refusals=seen.refusals,
        warnings=seen.warnings,
    )
    return msgspec.structs.replace(view, plan_id=_plan_id(state, after, view))


def _mended(start: Start, name: StackName) -> Start:
    """Return the beginning without a stack's unreadable record: the deploy would replace it."""
    there = start.world.unreadable
    left = {key: why for key, why in there.items() if key != keys.stack(name)}
    return msgspec.structs.replace(
        start, world=msgspec.structs.replace(start.world, unreadable=left)
    )


def revision_of(plan_id: str) -> Revision:
    """Return the revision of the stack that a plan is based on; -1 if it is no plan's id."""
    number, dash, _ = plan_id.partition("-")
    is_number = bool(dash) and number.isascii() and number.isdigit()
    return Revision(int(number[:20]) if is_number else -1)


def _plan_id(state: StackState | None, after: Stack, view: PlanView) -> str:
    revision = state.revision if state is not None else 0
    digest = hashlib.sha256(codec.encode(after) + codec.encode(view)).hexdigest()
    return f"{revision}-{digest[:_DIGEST_CHARACTERS]}"


def _services(before: Stack | None, after: Stack, seen: Forecast) -> tuple[ServiceChange, ...]:
    old = before.services if before is not None else ()
    workloads = {spec.name: spec.workload for spec in old}
    same = {
        spec.name
        for spec in after.services
        if spec.name in workloads and runs_alike(workloads[spec.name], spec.workload)
    }
    moved = {step.service for step in seen.steps if step.move is Move.REPLACE} & same
    return tuple(_moved(one, moved) for one in service_changes(old, after.services))


def _moved(one: ServiceChange, moved: Collection[str]) -> ServiceChange:
    """Return the change with its word: what is replaced by its like only goes elsewhere."""
    is_move = one.service in moved and one.what in {Happening.UPDATE, Happening.NONE}
    return msgspec.structs.replace(one, what=Happening.MOVE) if is_move else one


# ---------------------------------------------------------------- holding a deploy to its plan


def hold(plan: PlanView, upload: StackUpload) -> None:
    """Refuse a deploy that would not do what its author has seen, or that has no place.

    Args:
        plan: what it would do now.
        upload: what is to be deployed.

    Raises:
        OvertakenError: it would do something else than the plan it names; says what.
        UnplaceableError: a slot would have no node; says why.
    """
    if upload.plan_id and plan.plan_id != upload.plan_id:
        raise OvertakenError(_difference(plan, upload.plan_id))
    if upload.needs_place and plan.refusals:
        why = "\n".join(f"  {sentence}" for sentence in plan.refusals)
        raise UnplaceableError(
            f"{plan.stack} cannot be deployed, and nothing was stored:\n{why}\n"
            "Make room or ask for less; --no-plan stores it all the same."
        )


def _difference(plan: PlanView, seen: str) -> str:
    if revision_of(seen) != revision_of(plan.plan_id):
        why = f"stack {plan.stack} was written since; it is at generation {plan.generation}"
    else:
        why = "the cluster or the file is another one since"
    shown = [f"  {step.sentence}" for step in plan.steps[:_STEPS_SHOWN_MAX]]
    more = len(plan.steps) + plan.more - len(shown)
    rest = [f"  and {more} more"] if more > 0 else []
    lines = [*shown, *rest] or ["  nothing"]
    refusals = [f"  cannot be: {sentence}" for sentence in plan.refusals]
    return "\n".join(
        [
            f"plan {seen} does not hold any more, and nothing was stored: {why}.",
            f"What would happen now (plan {plan.plan_id}):",
            *lines,
            *refusals,
        ]
    )
