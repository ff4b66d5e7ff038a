"""A stack as it is and what is asked of it -> the stack as it should be.

Pure. Every refusal names what there is.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from shared.api import Abort, Change, Promote, Restart, Rollback, Scale, StackUpload, Start, Stop
from shared.errors import NotFoundError, SpecError
from shared.model import (
    Network,
    Rollout,
    RolloutPhase,
    Ruling,
    ServiceName,
    ServiceSpec,
    Stack,
    StackName,
    Verb,
    runs_alike,
)

# Updates that wait for a person's word.
WAITING: Final = frozenset({RolloutPhase.CANARY, RolloutPhase.PAUSED})
# One that still goes on can be taken back, too.
_ABORTABLE: Final = WAITING | {RolloutPhase.ROLLING}
_SHOWN_MAX: Final = 20

Rollouts = Mapping[ServiceName, Rollout]


class Known(msgspec.Struct, frozen=True):
    """A stack, the generations before it (oldest first), and how far its services' updates are."""

    stack: Stack
    history: Sequence[Stack] = ()
    rollouts: Rollouts = {}


def uploaded(name: StackName, before: Stack | None, upload: StackUpload) -> Stack:
    """Return the stack that an upload asks for; its generation is that of `before`.

    What a file cannot say is carried over: how often a restart was asked for. A service that was
    stopped runs again.
    """
    old = before if before is not None else Stack(name=name, generation=0, services=())
    forces = {spec.name: spec.workload.force for spec in old.services}
    services = tuple(
        _forced(spec, max(spec.workload.force, forces.get(spec.name, 0)))
        for spec in upload.services
    )
    made = (upload.source, upload.networks)
    return _amended(old, cascaded(old.services, services), "deploy", made)


def amended(known: Known, change: Change) -> Stack:
    """Return the stack after a change; equal to what it was if that changes nothing.

    Raises:
        NotFoundError: it has no such service or generation; says what there is.
        SpecError: the change cannot be; says why.
    """
    stack = known.stack
    match change:
        case Scale():
            return _scaled(stack, change.services)
        case Restart():
            return _each(stack, change.services, "restart", lambda spec: _forced(spec, _next(spec)))
        case Stop() | Start():
            is_stop = isinstance(change, Stop)
            verb = "stop" if is_stop else "start"
            return _each(
                stack, change.services, verb, lambda spec: _stopped(spec, is_stopped=is_stop)
            )
        case Rollback():
            return _rolled_back(known, change.generation)
        case Promote() | Abort():
            verdict = Verb.PROMOTE if isinstance(change, Promote) else Verb.ABORT
            return _ruled(known, change.services, verdict)


def cascaded(
    before: Iterable[ServiceSpec], services: Sequence[ServiceSpec]
) -> tuple[ServiceSpec, ...]:
    """Return `services` with those restarted that follow one whose containers are replaced."""
    old = {spec.name: spec.workload for spec in before}
    found = {spec.name: spec for spec in services}
    changed = {
        name
        for name, spec in found.items()
        if name in old and not runs_alike(old[name], spec.workload)
    }
    # Each round restarts at least one more, so there are at most as many as there are services.
    while followers := [
        spec
        for spec in found.values()
        if spec.name in old and spec.name not in changed and _follows(spec, changed)
    ]:
        for spec in followers:
            found[spec.name] = _forced(spec, _next(spec))
            changed.add(spec.name)
    return tuple(found[spec.name] for spec in services)


def _follows(spec: ServiceSpec, changed: set[ServiceName]) -> bool:
    return any(one.restart and one.service in changed for one in spec.depends_on)


def _next(spec: ServiceSpec) -> int:
    return spec.workload.force + 1


def _forced(spec: ServiceSpec, force: int) -> ServiceSpec:
    if force == spec.workload.force:
        return spec
    workload = msgspec.structs.replace(spec.workload, force=force)
    return msgspec.structs.replace(spec, workload=workload)


def _stopped(spec: ServiceSpec, *, is_stopped: bool) -> ServiceSpec:
    return msgspec.structs.replace(spec, is_stopped=is_stopped)


def _scaled(stack: Stack, counts: Mapping[ServiceName, int]) -> Stack:
    if not counts:
        raise SpecError("say how many of which: SERVICE=COUNT")
    _known(stack, counts)
    for spec in stack.services:
        if spec.name in counts and spec.mode.is_global:
            raise SpecError(
                f"service {spec.name} is {spec.mode}: it runs once on every node that meets its "
                "constraints, so no number can be asked for"
            )
    services = tuple(
        msgspec.structs.replace(spec, replicas=counts.get(spec.name, spec.replicas))
        for spec in stack.services
    )
    said = " ".join(f"{name}={counts[name]}" for name in sorted(counts))
    return _amended(stack, services, f"scale {said}")


def _each(
    stack: Stack,
    names: Sequence[ServiceName],
    verb: str,
    change: Callable[[ServiceSpec], ServiceSpec],
) -> Stack:
    _known(stack, names)
    meant = set(names) or {spec.name for spec in stack.services}
    services = tuple(change(spec) if spec.name in meant else spec for spec in stack.services)
    after = cascaded(stack.services, services)
    return _amended(stack, after, " ".join([verb, *sorted(set(names))]))


def _known(stack: Stack, names: Iterable[ServiceName]) -> None:
    there = {spec.name for spec in stack.services}
    for name in sorted(set(names) - there):
        raise NotFoundError(
            f"stack {stack.name} has no service {name!r}; it has: {', '.join(sorted(there))}"
        )


def _rolled_back(known: Known, generation: int | None) -> Stack:
    stack = known.stack
    past = {one.generation: one for one in known.history if one.generation < stack.generation}
    shown = [str(number) for number in sorted(past)][-_SHOWN_MAX:]
    there = f"its history has: {', '.join(shown)}" if shown else "its history is empty"
    if generation is None:
        others = [one for one in past.values() if one.services != stack.services]
        if not others:
            raise NotFoundError(
                f"stack {stack.name} has never asked for anything else than now; {there}"
            )
        # After an update that failed, what came up whole last, however many deploys ago that was.
        whole = [one for one in others if is_stable(one, known.rollouts)]
        is_bad = any(one.target != one.stable for one in known.rollouts.values())
        target = max(whole if is_bad and whole else others, key=lambda one: one.generation)
    elif generation not in past:
        raise NotFoundError(f"stack {stack.name} has no generation {generation} before it; {there}")
    else:
        target = past[generation]
    why = f"rollback to generation {target.generation}"
    return _amended(stack, target.services, why, (target.source, target.networks))


def is_stable(stack: Stack, rollouts: Rollouts) -> bool:
    """Say whether a generation asked for what came up whole the last time."""
    stable = {name: one.stable for name, one in rollouts.items() if one.stable is not None}
    return bool(stable) and all(stable.get(spec.name) == spec for spec in stack.services)


def is_another(before: Stack, after: Stack) -> bool:
    """Say whether a stack asks for anything else than before: then it is another generation."""
    return (before.services, before.source, before.networks) != (
        after.services,
        after.source,
        after.networks,
    )


def _amended(
    stack: Stack,
    services: tuple[ServiceSpec, ...],
    why: str,
    made: tuple[str, tuple[Network, ...]] | None = None,
) -> Stack:
    """Return the stack with these services; the very same if nothing differs.

    Args:
        stack: as it was.
        services: as they should be.
        why: which command asks.
        made: the file, and the networks that it makes; None: as they were.
    """
    source, networks = made if made is not None else (stack.source, stack.networks)
    after = msgspec.structs.replace(stack, services=services, source=source, networks=networks)
    if not is_another(stack, after):
        return stack
    names = {spec.name for spec in services}
    rulings = {name: ruling for name, ruling in stack.rulings.items() if name in names}
    return msgspec.structs.replace(after, why=why, rulings=rulings)


# ---------------------------------------------------------------- rulings


def _ruled(known: Known, names: Sequence[ServiceName], verb: Verb) -> Stack:
    stack, fitting = known.stack, WAITING if verb is Verb.PROMOTE else _ABORTABLE
    _known(stack, names)
    for name in names:
        rollout = known.rollouts.get(name)
        if rollout is None or rollout.phase not in fitting:
            raise SpecError(_nothing_waits(name, rollout, verb))
    meant = set(names) or {
        name for name, rollout in known.rollouts.items() if rollout.phase in WAITING
    }
    if not meant:
        raise SpecError(
            f"nothing of stack {stack.name} waits for a word; {_phases(known.rollouts)}"
        )
    rulings = {name: _ruling(known, name, verb) for name in sorted(meant)}
    return msgspec.structs.replace(stack, rulings={**stack.rulings, **rulings})


def _ruling(known: Known, name: ServiceName, verb: Verb) -> Ruling:
    rollout, before = known.rollouts[name], known.stack.rulings.get(name)
    said = before.number if before is not None else 0
    return Ruling(verb=verb, generation=rollout.generation, number=max(said, rollout.ruled) + 1)


def _nothing_waits(name: ServiceName, rollout: Rollout | None, verb: Verb) -> str:
    needed = "canary or paused" if verb is Verb.PROMOTE else "canary, paused or rolling"
    if rollout is None:
        return f"service {name} has no update to {verb}: none was begun"
    return (
        f"service {name} has no update to {verb}: that of generation {rollout.generation} is "
        f"{rollout.phase}, not {needed}"
    )


def _phases(rollouts: Rollouts) -> str:
    shown = [f"{name} is {rollouts[name].phase}" for name in sorted(rollouts)[:_SHOWN_MAX]]
    return ", ".join(shown) or "no update was begun"
