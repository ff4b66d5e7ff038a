"""Which services are far enough for those that depend on them.

Pure. Only what begins waits: the first copies of a service, and its update. What has come up once
is replaced at once, whatever became of what it depends on.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from scheduler.allocs import Alloc
from scheduler.jobs import with_run
from scheduler.world import World
from shared.model import (
    Dependency,
    DependsOn,
    Rollout,
    RolloutPhase,
    ServiceName,
    ServiceSpec,
    StackName,
)

P = RolloutPhase


def waits_for(
    world: World,
    stack: StackName,
    spec: ServiceSpec,
    allocs: Mapping[ServiceName, Sequence[Alloc]],
) -> str:
    """Return what a service still waits for, one sentence; empty: it may begin.

    Args:
        world: the updates as they were written last.
        stack: the service's.
        spec: its newest version.
        allocs: of all services of the stack.
    """
    asked = {each.name: each for each in world.stacks[stack].stack.services}
    for dependency in spec.depends_on:
        target = asked.get(dependency.service)
        if target is None:
            continue
        found = world.rollouts.get((stack, dependency.service))
        rollout = found.rollout if found is not None else None
        why = _why_not(dependency, target, rollout, allocs.get(dependency.service, ()))
        if why:
            return f"waits for {dependency.service}: {why}"
    return ""


def _why_not(
    dependency: Dependency, target: ServiceSpec, rollout: Rollout | None, allocs: Sequence[Alloc]
) -> str:
    if target.is_stopped:
        return "it is stopped"
    if rollout is None or rollout.target != target:
        return "it has not begun"
    if rollout.is_back or rollout.phase is P.FAILED:
        return f"its update is {rollout.phase}: {rollout.reason}"
    if target.mode.is_job:
        target = with_run(target, rollout.run)
    match dependency.condition:
        case DependsOn.COMPLETED if target.mode.is_job:
            return "" if rollout.phase is P.DONE else "it has not completed"
        case DependsOn.HEALTHY if rollout.stable is not None and rollout.phase is not P.DONE:
            return f"its update is {rollout.phase}"
        case condition:
            return _count(condition, target, allocs)


def _count(condition: DependsOn, target: ServiceSpec, allocs: Sequence[Alloc]) -> str:
    word, is_good = _CONDITIONS[condition]
    good = {alloc.assignment.slot for alloc in allocs if alloc.has(target) and is_good(alloc)}
    most = max(1, len(good)) if target.mode.is_global else target.replicas
    return "" if len(good) >= most else f"{len(good)} of {most} {word}"


_CONDITIONS: Final[Mapping[DependsOn, tuple[str, Callable[[Alloc], bool]]]] = {
    DependsOn.STARTED: ("started", lambda alloc: alloc.is_running or alloc.is_complete),
    DependsOn.HEALTHY: ("ready", lambda alloc: alloc.is_ready),
    DependsOn.COMPLETED: ("completed", lambda alloc: alloc.is_complete),
}
