"""The agent's whole decision: what the manifest asks and what runs, to the steps between them.

Pure, total and deterministic. One step per container and pass, so there is never a half-done
sequence to resume; a container with a step in flight gets none.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from node_agent.actions import Create, Remove, Start, Step, Stop
from node_agent.claims import Right
from node_agent.restart import StartAt, next_start
from node_agent.runtime import Container, Phase
from node_agent.track import Track, Tracks
from shared.model import AllocId, Assignment, Health, Want

# Heals what an event missed; finding nothing to do costs about a millisecond.
PERIOD_S: Final = 10.0


class Decision(msgspec.Struct, frozen=True):
    """The steps to take now, and in how many seconds time alone may ask for another."""

    steps: tuple[Step, ...]
    wake_in_s: float = PERIOD_S


class Allowed(msgspec.Struct, frozen=True, kw_only=True):
    """What may be begun now, besides what is asked for.

    Attributes:
        rights: of exclusive allocations, of which one that is not named waits; and of others that
            wait.
        begin: whether anything may be made or started: not before etcd has said what to run.
        exclusive: whether anything exclusive may: not while its fuse is about to burn.
    """

    rights: Mapping[AllocId, Right] = {}
    begin: bool = True
    exclusive: bool = True

    def right(self, assignment: Assignment) -> Right:
        """Return what an allocation may do."""
        otherwise = Right.WAIT if assignment.workload.exclusive else Right.HELD
        return self.rights.get(assignment.id, otherwise)


EVERYTHING: Final = Allowed()


def decide(
    desired: Mapping[AllocId, Assignment],
    observed: Mapping[AllocId, Container],
    tracks: Tracks,
    in_flight: AbstractSet[AllocId],
    now: float,
    allowed: Allowed = EVERYTHING,
) -> Decision:
    """Return the steps that move `observed` towards `desired`; none means converged.

    Steps that free memory come before steps that claim it.

    Args:
        desired: the manifest's assignments by id.
        observed: the containers that carry our mark, by id.
        tracks: what is remembered of each.
        in_flight: allocations that have a step under way.
        now: monotonic seconds.
        allowed: what may be begun.
    """
    steps: list[Step] = []
    wake = PERIOD_S
    for id_ in sorted((desired.keys() | observed.keys()) - in_flight):
        match desired.get(id_), observed.get(id_):
            case None, Container() as container:
                steps.append(_unwanted(container))
            case Assignment() as assignment, container:
                outcome = _wanted(assignment, container, tracks.get(id_, Track()), now, allowed)
                if isinstance(outcome, float):
                    wake = min(wake, outcome)
                elif outcome is not None and _may(outcome, assignment, allowed):
                    steps.append(outcome)
            case _:
                pass
    frees_first = sorted(steps, key=lambda step: isinstance(step, Create | Start))
    return Decision(tuple(frees_first), wake)


def may_start(assignment: Assignment, allowed: Allowed) -> bool:
    """Say whether an assigned container is to be started, not merely made."""
    return assignment.want is not Want.STANDBY and allowed.right(assignment) is Right.HELD


def _may(step: Step, assignment: Assignment, allowed: Allowed) -> bool:
    if isinstance(step, Stop | Remove):
        return True
    return allowed.begin and (allowed.exclusive or not assignment.workload.exclusive)


def _unwanted(container: Container) -> Step:
    grace_s = container.assignment.workload.stop_grace_period_s
    if container.phase is Phase.RUNNING:
        return Stop(container.id, "not assigned here", grace_s)
    return Remove(container.id, "not assigned here")


def _wanted(
    assignment: Assignment,
    container: Container | None,
    track: Track,
    now: float,
    allowed: Allowed,
) -> Step | float | None:
    """Return the step an assigned allocation needs, or in how many seconds it may need one."""
    if container is not None and container.phase is Phase.RUNNING:
        return _running(assignment, track, allowed.right(assignment))
    if track.failed or track.is_complete:
        return None  # What there is of it stays, for its log, until it is not assigned any more.
    if container is None:
        return Create(
            assignment.id, "no container yet", assignment, start=may_start(assignment, allowed)
        )
    if container.phase is Phase.EXITED and not container.started:
        # A standby that was made and has come to an end: a new one is as good.
        return Remove(assignment.id, "it ended before it was started")
    return _start(container, assignment, track, now) if may_start(assignment, allowed) else None


def _start(
    container: Container, assignment: Assignment, track: Track, now: float
) -> Step | float | None:
    if container.phase is Phase.CREATED:
        return Start(container.id, "created, not started")
    return _again(assignment, track, now)


def _running(assignment: Assignment, track: Track, right: Right) -> Step | None:
    if right is Right.DENIED:
        # It ought to have ended before; whoever has the claim now must not wait for its manners.
        return Stop(assignment.id, "another node has its claim", 0.0)
    if assignment.want is Want.STANDBY:
        return Stop(assignment.id, "it is to stand by", assignment.workload.stop_grace_period_s)
    if track.probed.health is Health.UNHEALTHY:
        return Stop(assignment.id, _unhealthy(track), assignment.workload.stop_grace_period_s)
    return None


def _unhealthy(track: Track) -> str:
    return f"its healthcheck failed {track.probed.failures} times"


def _again(assignment: Assignment, track: Track, now: float) -> Step | float | None:
    match next_start(track.exits, assignment.workload.restart):
        case StartAt(at) if at <= now:
            return Start(assignment.id, track.exits.last_reason or "it has ended")
        case StartAt(at):
            return at - now
        case _:
            return None
