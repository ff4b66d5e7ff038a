"""The agent's whole decision: what the manifest asks and what runs, to the steps between them.

Pure, total and deterministic. One step per container and pass, so there is never a half-done
sequence to resume; a container with a step in flight gets none.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from node_agent.actions import Create, Remove, Start, Step, Stop
from node_agent.restart import StartAt, next_start
from node_agent.runtime import Container, Phase
from node_agent.track import Track, Tracks
from shared.model import AllocId, Assignment, Health

# Heals what an event missed; finding nothing to do costs about a millisecond.
PERIOD_S: Final = 10.0


class Decision(msgspec.Struct, frozen=True):
    """The steps to take now, and in how many seconds time alone may ask for another."""

    steps: tuple[Step, ...]
    wake_in_s: float = PERIOD_S


def decide(
    desired: Mapping[AllocId, Assignment],
    observed: Mapping[AllocId, Container],
    tracks: Tracks,
    in_flight: AbstractSet[AllocId],
    now: float,
) -> Decision:
    """Return the steps that move `observed` towards `desired`; none means converged.

    Steps that free memory come before steps that claim it.

    Args:
        desired: the manifest's assignments by id.
        observed: the containers that carry our mark, by id.
        tracks: what is remembered of each.
        in_flight: allocations that have a step under way.
        now: monotonic seconds.
    """
    steps: list[Step] = []
    wake = PERIOD_S
    for id_ in sorted((desired.keys() | observed.keys()) - in_flight):
        match desired.get(id_), observed.get(id_):
            case None, Container() as container:
                steps.append(_unwanted(container))
            case Assignment() as assignment, container:
                outcome = _wanted(assignment, container, tracks.get(id_, Track()), now)
                if isinstance(outcome, float):
                    wake = min(wake, outcome)
                elif outcome is not None:
                    steps.append(outcome)
            case _:
                pass
    frees_first = sorted(steps, key=lambda step: isinstance(step, Create | Start))
    return Decision(tuple(frees_first), wake)


def _unwanted(container: Container) -> Step:
    grace_s = container.assignment.workload.stop_grace_period_s
    if container.phase is Phase.RUNNING:
        return Stop(container.id, "not assigned here", grace_s)
    return Remove(container.id, "not assigned here")


def _wanted(
    assignment: Assignment, container: Container | None, track: Track, now: float
) -> Step | float | None:
    """Return the step an assigned allocation needs, or in how many seconds it may need one."""
    if container is not None and container.phase is Phase.RUNNING:
        if track.probed.health is Health.UNHEALTHY:
            return Stop(assignment.id, _unhealthy(track), assignment.workload.stop_grace_period_s)
        return None
    if track.failed:
        return None
    match container:
        case None:
            return Create(assignment.id, "no container yet", assignment)
        case Container(phase=Phase.CREATED):
            return Start(assignment.id, "created, not started")
        case _:
            return _again(assignment.id, track, now)


def _unhealthy(track: Track) -> str:
    return f"its healthcheck failed {track.probed.failures} times"


def _again(id_: AllocId, track: Track, now: float) -> Step | float | None:
    match next_start(track.exits):
        case StartAt(at) if at <= now:
            return Start(id_, track.exits.last_reason or "it has ended")
        case StartAt(at):
            return at - now
        case _:
            return None
