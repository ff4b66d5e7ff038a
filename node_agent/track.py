"""What an agent remembers of one allocation between passes.

Pure. Only `failed` must outlive the agent: an allocation that was given up is never tried again.
"""

from collections.abc import Iterable, Mapping

import msgspec

from node_agent.health import ProbeState
from node_agent.restart import Exits, GiveUp, after_exit, describe_exit, next_start
from node_agent.runtime import Container, Phase
from shared.model import AllocId, Health


class Track(msgspec.Struct, frozen=True, kw_only=True):
    """One allocation's story on this node.

    Attributes:
        failed: why it was given up; empty while it was not.
        exit_code: of its last end.
        exits: its ends so far.
        counted: the start whose end is in `exits` already; 0: none.
        started_at: when an agent saw its current start, monotonic seconds; None: it does not run.
        probed: what the probes of its current start say.
    """

    failed: str = ""
    exit_code: int | None = None
    exits: Exits = Exits()
    counted: int = 0
    started_at: float | None = None
    probed: ProbeState = ProbeState()


Tracks = Mapping[AllocId, Track]


def follow(
    tracks: Tracks, containers: Iterable[Container], wanted: Iterable[AllocId], now: float
) -> Tracks:
    """Return the tracks after seeing the containers at `now`; what is gone is forgotten."""
    seen = {container.id: container for container in containers}
    kept = seen.keys() | set(wanted)
    return {
        id_: _follow_one(tracks.get(id_, Track()), seen.get(id_), now)
        for id_ in sorted(kept)
        if id_ in tracks or id_ in seen
    }


def _follow_one(track: Track, container: Container | None, now: float) -> Track:
    if container is None:
        return track
    if container.phase is Phase.RUNNING and container.started != _current(track):
        return begun(track, container.started, now)
    if container.phase is Phase.EXITED and container.started > track.counted:
        return _ended(track, container, now)
    return track


def _current(track: Track) -> int:
    """Return the start that `started_at` belongs to; 0 before the first."""
    return track.counted + 1 if track.started_at is not None else 0


def begun(track: Track, start: int, now: float) -> Track:
    """Return the track at the beginning of a start."""
    return msgspec.structs.replace(track, counted=start - 1, started_at=now, probed=ProbeState())


def _ended(track: Track, container: Container, now: float) -> Track:
    reason = describe_exit(container.exit_code, oom_killed=container.oom_killed)
    if track.probed.health is Health.UNHEALTHY:
        reason = f"its healthcheck failed {track.probed.failures} times: {track.probed.said}"
    # One that ended before anybody saw it run began after its end before, at the earliest.
    began_at = track.exits.last_at if track.started_at is None else track.started_at
    is_first = track.started_at is None and not track.exits.count
    ran_s = 0.0 if is_first else now - began_at
    exits = after_exit(track.exits, ran_s=ran_s, now=now, reason=reason)
    verdict = next_start(exits)
    return Track(
        failed=verdict.reason if isinstance(verdict, GiveUp) else track.failed,
        exit_code=container.exit_code,
        exits=exits,
        counted=container.started,
    )


def give_up(track: Track, reason: str) -> Track:
    """Return the track of an allocation that cannot be run here."""
    return msgspec.structs.replace(track, failed=reason)


def adopted(track: Track, now: float) -> Track:
    """Return a track read from disk as of `now`: a reboot sets the monotonic clock back."""
    started_at = None if track.started_at is None else min(track.started_at, now)
    exits = msgspec.structs.replace(track.exits, last_at=min(track.exits.last_at, now))
    return msgspec.structs.replace(track, started_at=started_at, exits=exits)


def durable(track: Track) -> Track:
    """Return what of a track is worth a write to disk: not each single probe."""
    health = ProbeState(health=track.probed.health)
    return msgspec.structs.replace(track, probed=health)
