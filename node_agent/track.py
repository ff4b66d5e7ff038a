"""What an agent remembers of one allocation between passes.

Pure. `failed` and `is_complete` must outlive the agent: an allocation that was given up, or that
has done what it was for, is never started again.
"""

from collections.abc import Iterable, Mapping

import msgspec

from node_agent.health import ProbeState
from node_agent.restart import (
    Complete,
    End,
    Exits,
    GiveUp,
    after_exit,
    describe_exit,
    outcome,
)
from node_agent.runtime import Container, Phase
from shared.model import AllocationStatus, AllocId, Assignment, Health, RestartPolicy
from shared.states import AllocState


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """One allocation's story on this node.

    Attributes:
        failed: why it was given up; empty while it was not.
        is_complete: it has ended as it should, for good.
        asked: why this agent has asked its current start to end; empty: it did not.
        exit_code: of its last end.
        exits: its ends so far.
        counted: the start whose end is in `exits` already; 0: none.
        started_at: when an agent saw its current start, monotonic seconds; None: it does not run.
        probed: what the probes of its current start say.
    """

    failed: str = ""
    is_complete: bool = False
    asked: str = ""
    exit_code: int | None = None
    exits: Exits = Exits()
    counted: int = 0
    started_at: float | None = None
    probed: ProbeState = ProbeState()


Tracks = Mapping[AllocId, Track]


def follow(
    tracks: Tracks,
    containers: Iterable[Container],
    wanted: Mapping[AllocId, Assignment],
    now: float,
) -> Tracks:
    """Return the tracks after seeing the containers at `now`; what is gone is forgotten."""
    seen = {container.id: container for container in containers}
    kept = seen.keys() | wanted.keys()
    return {
        id_: _follow_one(tracks.get(id_, Track()), seen.get(id_), wanted.get(id_), now)
        for id_ in sorted(kept)
        if id_ in tracks or id_ in seen
    }


def _follow_one(
    track: Track, container: Container | None, wanted: Assignment | None, now: float
) -> Track:
    if container is None:
        return track
    if container.phase is Phase.RUNNING and container.started != _current(track):
        return begun(track, container.started, now)
    if container.phase is Phase.EXITED and container.started > track.counted:
        asked = wanted if wanted is not None else container.assignment
        return _ended(track, container, asked.workload.restart, now)
    return track


def _current(track: Track) -> int:
    """Return the start that `started_at` belongs to; 0 before the first."""
    return track.counted + 1 if track.started_at is not None else 0


def begun(track: Track, start: int, now: float) -> Track:
    """Return the track at the beginning of a start."""
    return msgspec.structs.replace(
        track, counted=start - 1, started_at=now, probed=ProbeState(), asked=""
    )


def _ended(track: Track, container: Container, policy: RestartPolicy, now: float) -> Track:
    reason = describe_exit(container.exit_code, oom_killed=container.oom_killed)
    is_unhealthy = track.probed.health is Health.UNHEALTHY
    if is_unhealthy:
        reason = f"its healthcheck failed {track.probed.failures} times: {track.probed.said}"
    # One that ended before anybody saw it run began after its end before, at the earliest.
    began_at = track.exits.last_at if track.started_at is None else track.started_at
    is_first = track.started_at is None and not track.exits.count
    end = End(
        ran_s=0.0 if is_first else now - began_at,
        at=now,
        reason=reason if is_unhealthy else track.asked or reason,
        is_success=container.exit_code == 0 and not track.asked and not is_unhealthy,
    )
    exits = after_exit(track.exits, end, policy)
    verdict = outcome(exits, end, policy)
    return Track(
        failed=verdict.reason if isinstance(verdict, GiveUp) else track.failed,
        is_complete=isinstance(verdict, Complete),
        exit_code=container.exit_code,
        exits=exits,
        counted=container.started,
    )


def ask_to_end(track: Track, reason: str) -> Track:
    """Return the track of a container that this agent stops: its end is no success."""
    return msgspec.structs.replace(track, asked=reason)


def give_up(track: Track, reason: str) -> Track:
    """Return the track of an allocation that cannot be run here."""
    return msgspec.structs.replace(track, failed=reason)


def resumed(tracks: Tracks, before: Mapping[AllocId, AllocationStatus]) -> Tracks:
    """Return the tracks with what was reported as over for good: that stays so.

    A full disk may have kept it out of the journal, and may be why it is over.
    """
    found = dict(tracks)
    for id_, status in before.items():
        track = found.get(id_, Track())
        if status.state is AllocState.FAILED and not track.failed:
            found[id_] = give_up(track, status.reason)
        elif status.state is AllocState.COMPLETE and not track.is_complete:
            found[id_] = msgspec.structs.replace(
                track, is_complete=True, exit_code=status.exit_code
            )
    return found


def adopted(track: Track, now: float) -> Track:
    """Return a track read from disk as of `now`: a reboot sets the monotonic clock back."""
    started_at = None if track.started_at is None else min(track.started_at, now)
    exits = msgspec.structs.replace(track.exits, last_at=min(track.exits.last_at, now))
    return msgspec.structs.replace(track, started_at=started_at, exits=exits)


def durable(track: Track) -> Track:
    """Return what of a track is worth a write to disk: not each single probe."""
    health = ProbeState(health=track.probed.health)
    return msgspec.structs.replace(track, probed=health)
