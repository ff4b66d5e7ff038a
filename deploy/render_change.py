"""Plans, progress, histories and explanations -> lines for people.

Pure.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from deploy.render import Column, Table, clock_time
from shared.api import (
    FieldChange,
    GenerationView,
    Happening,
    PlanView,
    ServiceChange,
    ServiceView,
    SlotView,
    StackProgress,
    WhyView,
)
from shared.model import RolloutPhase

_SIGNS: Final[Mapping[Happening, str]] = {
    Happening.CREATE: "+",
    Happening.REMOVE: "-",
    Happening.NONE: " ",
}
_STEPS_SHOWN_MAX: Final = 50
_SOURCE: Final = "workload."


# ---------------------------------------------------------------- plans


def plan_lines(plan: PlanView) -> list[str]:
    """Return what a deploy would do: each service and field, where each replica goes, refusals."""
    based = f"generation {plan.generation}" if plan.generation else "not deployed yet"
    lines = [f"{plan.stack} ({based})"]
    for change in plan.services:
        lines += [f"{_SIGNS.get(change.what, '~')} {change.service}: {_word(change)}"]
        lines += [f"    {field_line(field)}" for field in change.fields]
    lines += [field_line(field) for field in plan.networks]
    if plan.steps:
        lines += ["", "Where the replicas go:"]
        lines += [f"  {step.sentence}" for step in plan.steps[:_STEPS_SHOWN_MAX]]
    more = max(len(plan.steps) - _STEPS_SHOWN_MAX, 0) + plan.more
    lines += [f"  and {more} more like these"] if more else []
    lines += [f"warning: {sentence}" for sentence in plan.warnings]
    if plan.refusals:
        lines += ["", "This cannot be:", *(f"  {sentence}" for sentence in plan.refusals)]
    return [*lines, "", _plan_end(plan)]


def _word(change: ServiceChange) -> str:
    return "nothing changes" if change.what is Happening.NONE else change.what.value


def _plan_end(plan: PlanView) -> str:
    if plan.refusals:
        return "A deploy would be refused."
    if plan.is_nothing:
        return "Nothing to do."
    return f"To do exactly this: hafen deploy --plan-id {plan.plan_id}"


def field_line(field: FieldChange) -> str:
    """Return one field's change, such as "~ image: app:1 -> app:2"."""
    path = field.path.removeprefix(_SOURCE)
    if not field.before:
        return f"+ {path}: {field.after}"
    if not field.after:
        return f"- {path}: {field.before}"
    return f"~ {path}: {field.before} -> {field.after}"


# ---------------------------------------------------------------- progress


def progress_line(one: ServiceView) -> str:
    """Return where one service of a change is."""
    old = one.ready - one.updated
    parts = [f"{one.service}: {one.updated} of {one.replicas} ready"]
    if old > 0:
        parts.append(f"{old} old")
    if one.phase and one.phase != RolloutPhase.DONE:
        parts.append(one.phase)
    why = [*([one.reason] if one.reason else []), *one.waiting]
    return ", ".join(parts) + (f" ({'; '.join(why)})" if why else "")


def slot_line(service: str, slot: SlotView) -> str:
    """Return where one allocation of a change is, such as "web 1 new: healthy on node-2"."""
    words = (service, str(slot.slot or "standby"), slot.version)
    return f"{' '.join(filter(None, words))}: {slot.state} on {slot.node}"


def progress_lines(before: StackProgress | None, now: StackProgress) -> list[str]:
    """Return a line for each service and slot that is not where it was."""
    seen = set(_all_lines(before)) if before is not None else set()
    return [line for line in _all_lines(now) if line not in seen]


def live_lines(now: StackProgress) -> list[str]:
    """Return all there is to see at a moment, the slots below their service."""
    lines: list[str] = []
    for one in now.services:
        lines.append(progress_line(one))
        lines += [f"  {slot_line(one.service, slot)}" for slot in one.slots]
    return lines


def _all_lines(progress: StackProgress) -> Iterator[str]:
    for one in progress.services:
        yield progress_line(one)
        yield from (slot_line(one.service, slot) for slot in one.slots)


def ready_line(progress: StackProgress, nodes: int) -> str:
    """Return the sentence that ends a change that came true."""
    ready = sum(one.updated for one in progress.services)
    wanted = sum(one.replicas for one in progress.services)
    hosts = "node" if nodes == 1 else "nodes"
    return f"{progress.stack}: {ready} of {wanted} replicas ready on {nodes} {hosts}"


def canary_lines(progress: StackProgress) -> list[str]:
    """Return how to go on with the canaries that wait for a person's word."""
    stack = progress.stack
    return [
        f"{one.service}: the canary is well and waits: `hafen promote {stack}.{one.service}` goes "
        f"on, `hafen abort {stack}.{one.service}` goes back"
        for one in progress.services
        if one.phase == RolloutPhase.CANARY
    ]


def _listed(why: Sequence[str]) -> str:
    return "\n".join(f"  {reason}" for reason in why)


def blocked_message(progress: StackProgress, why: Sequence[str]) -> str:
    """Return what a person reads when a change does not come up: why, what is so, how to go on."""
    stack = progress.stack
    return (
        f"{stack} does not come up:\n{_listed(why)}\n"
        f"The stack is stored (generation {progress.generation}) and hafen keeps trying; "
        f"`hafen ps {stack}` shows it.\n"
        f"Mend the file and deploy it again, `hafen rollback {stack}`, or `hafen rm {stack}`."
    )


def stopped_message(progress: StackProgress, why: Sequence[str]) -> str:
    """Return what a person reads when an update waits after something went wrong."""
    stack = progress.stack
    return (
        f"{stack} stopped half-way:\n{_listed(why)}\n"
        f"`hafen promote {stack}` goes on all the same, `hafen abort {stack}` goes back."
    )


def rolled_back_message(progress: StackProgress, why: Sequence[str]) -> str:
    """Return what a person reads when the version before runs again."""
    stack = progress.stack
    return (
        f"{stack} was rolled back, what ran before runs again:\n{_listed(why)}\n"
        f"Mend the file and deploy it again; `hafen rollback {stack}` makes the old version the "
        "one that is asked for."
    )


def overtaken_message(progress: StackProgress, generation: int) -> str:
    """Return what a person reads whose change somebody else changed before it came true."""
    stack = progress.stack
    if not progress.generation:
        return f"{stack} was removed before generation {generation} had come true"
    return (
        f"{stack} was changed again before generation {generation} had come true: it is at "
        f"generation {progress.generation} now; `hafen history {stack}` shows by what, "
        f"`hafen watch {stack}` how far it is"
    )


def interrupted_message(stack: str) -> str:
    """Return what a person reads who interrupts the waiting."""
    return (
        f"{stack}: the change goes on without this command; `hafen watch {stack}` shows it again, "
        f"`hafen abort {stack}` takes it back"
    )


# ---------------------------------------------------------------- history and explanations


def history_table(generations: Iterable[GenerationView]) -> Table:
    """Return a stack's generations, with what each changed."""
    columns = (
        Column("GENERATION", is_number=True),
        Column("WHEN (UTC)"),
        Column("WHY"),
        Column("CHANGED"),
        Column("NOTES"),
    )
    rows = tuple(
        (
            str(one.generation),
            clock_time(one.at_s)[:19],
            one.why,
            "; ".join([*map(_changed, one.services), *(field.path for field in one.networks)]),
            ", ".join(_notes(one)),
        )
        for one in generations
    )
    return Table(columns, rows)


def _changed(change: ServiceChange) -> str:
    fields = [field.path.removeprefix(_SOURCE) for field in change.fields]
    is_plain = change.what in {Happening.CREATE, Happening.REMOVE} or not fields
    return f"{change.what} {change.service}" + ("" if is_plain else f" ({', '.join(fields)})")


def _notes(one: GenerationView) -> Iterator[str]:
    if one.is_current:
        yield "asked for now"
    if one.is_stable:
        yield "ran whole last"


def why_lines(why: WhyView) -> list[str]:
    """Return an explanation, a line for each fact."""
    width = max((len(fact.about) for fact in why.facts), default=0)
    return [why.subject, *(f"  {fact.about:<{width}}  {fact.sentence}" for fact in why.facts)]
