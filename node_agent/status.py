"""What a node reports of each allocation, derived from what runs and what is remembered.

Pure. States only move forward: whatever was started once is RUNNING until it is gone or given up.
"""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import msgspec

from node_agent.runtime import Container, Phase
from node_agent.track import Track, Tracks
from shared.model import AllocationStatus, AllocId, Assignment, Health
from shared.states import AllocState


class Doing(msgspec.Struct, frozen=True):
    """Which allocations have a step under way, and why those that are made are not started."""

    busy: AbstractSet[AllocId] = frozenset()
    waiting: Mapping[AllocId, str] = {}


def statuses(
    desired: Mapping[AllocId, Assignment],
    observed: Mapping[AllocId, Container],
    tracks: Tracks,
    doing: Doing,
    before: Mapping[AllocId, AllocationStatus],
    now_s: float,
) -> tuple[AllocationStatus, ...]:
    """Return a status for everything asked for or there, sorted by id.

    Args:
        desired: the manifest's assignments by id.
        observed: the containers by id.
        tracks: what is remembered of each.
        doing: what is under way.
        before: the statuses last reported; `since_s` is theirs while nothing has changed.
        now_s: wall clock, for `since_s`.
    """
    found = []
    for id_ in sorted(desired.keys() | observed.keys()):
        status = _status(
            id_,
            observed.get(id_),
            tracks.get(id_, Track()),
            is_wanted=id_ in desired,
            is_busy=id_ in doing.busy,
            waits=doing.waiting.get(id_, ""),
        )
        found.append(_dated(status, before.get(id_), now_s))
    return tuple(found)


def _status(
    id_: AllocId,
    container: Container | None,
    track: Track,
    *,
    is_wanted: bool,
    is_busy: bool,
    waits: str,
) -> AllocationStatus:
    runs = container is not None and container.phase is Phase.RUNNING
    state = _state(container, track, is_wanted=is_wanted, is_busy=is_busy)
    is_live = runs and state is AllocState.RUNNING
    return AllocationStatus(
        id=id_,
        state=state,
        health=track.probed.health if is_live else Health.STARTING,
        address=container.address if container is not None else "",
        reason=_reason(track, state, runs=runs) or ("" if runs else waits),
        exit_code=track.exit_code,
        restarts=track.exits.count - int(track.is_complete),
    )


def _state(
    container: Container | None, track: Track, *, is_wanted: bool, is_busy: bool
) -> AllocState:
    if not is_wanted:
        return AllocState.STOPPING
    if track.failed or track.is_complete:
        return AllocState.COMPLETE if track.is_complete else AllocState.FAILED
    if container is None:
        return AllocState.PREPARING if is_busy else AllocState.PENDING
    return AllocState.RUNNING if container.started else AllocState.PREPARING


def _reason(track: Track, state: AllocState, *, runs: bool) -> str:
    if track.failed:
        return track.failed
    if state is AllocState.COMPLETE:
        return "it has ended as it should"
    if state is AllocState.RUNNING and not runs and track.exits.count:
        return f"starting again: {track.exits.last_reason}"
    if runs and track.probed.failures:
        return f"healthcheck: {track.probed.said}"
    return ""


def _dated(
    status: AllocationStatus, before: AllocationStatus | None, now_s: float
) -> AllocationStatus:
    """Keep the date while state and health are what they were."""
    is_same = before is not None and (before.state, before.health) == (status.state, status.health)
    since_s = before.since_s if before is not None and is_same else now_s
    return msgspec.structs.replace(status, since_s=since_s)
