"""The life of one update: begun, watched, promoted, paused, rolled back, done.

Pure. What is seen goes in, the next record comes out; who acts on it is in scheduler.versions and
scheduler.orchestrate. Every pass compares whole with whole: nothing here waits.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from scheduler.changes import Mark
from scheduler.look import Seen
from scheduler.strategy import is_alike, is_canary, policy_of
from shared.model import (
    AllocId,
    FailureAction,
    Rollout,
    RolloutPhase,
    Ruling,
    ServiceName,
    ServiceSpec,
    StackName,
    Verb,
)

P = RolloutPhase
# More copies of one version than this that failed say nothing new.
FAILED_MAX: Final = 50
_SLOT: Final = 2  # of <stack>.<service>.<slot>.<suffix>


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What people want of a service: its newest version, and their word on the one under way."""

    stack: StackName
    service: ServiceName
    spec: ServiceSpec
    generation: int
    ruling: Ruling | None = None
    wall_s: float = 0.0


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How an update stands besides its record.

    Attributes:
        seen: its slots.
        slots: those that it has to bring about.
        still_s: for how long no slot got further.
        blocked: why not, a sentence; empty: nothing is known to be in the way.
        broken: why it never will, a sentence; empty: it may.
    """

    seen: Seen
    slots: frozenset[int]
    still_s: float = 0.0
    blocked: str = ""
    broken: str = ""

    @property
    def is_whole(self) -> bool:
        """Say whether every slot has the version in hand, proven, and nothing else."""
        return self.seen.settled >= self.slots >= self.seen.occupied


def wanted(before: Rollout | None, wish: Wish) -> Rollout:
    """Return the record with the newest target and the newest ruling heard."""
    rollout = before if before is not None else _begun(None, wish)
    is_again = rollout.is_back and wish.generation > rollout.generation
    if before is not None and (wish.spec != rollout.target or is_again):
        rollout = _begun(rollout, wish)
    ruling = wish.ruling
    if ruling is None or ruling.number <= rollout.ruled or ruling.generation != rollout.generation:
        return rollout
    heard = msgspec.structs.replace(rollout, ruled=ruling.number)
    return heard if rollout.is_settled else _ruled(heard, ruling.verb)


def _begun(before: Rollout | None, wish: Wish) -> Rollout:
    stable = before.stable if before is not None else None
    return Rollout(
        stack=wish.stack,
        service=wish.service,
        generation=wish.generation,
        phase=P.ROLLING,
        target=wish.spec,
        stable=stable,
        began_at_s=wish.wall_s,
        run=before.run if before is not None else 0,
        due_at_s=before.due_at_s if before is not None else 0.0,
    )


def _ruled(rollout: Rollout, verb: Verb) -> Rollout:
    if verb is Verb.PROMOTE:
        phase = P.ROLLING_BACK if rollout.is_back else P.ROLLING
        pardoned = (*rollout.pardoned, *rollout.failed)[-FAILED_MAX:]
        return msgspec.structs.replace(
            rollout, phase=phase, is_promoted=True, failed=(), pardoned=pardoned, reason=""
        )
    if rollout.is_back or not can_go_back(rollout):
        return rollout
    return back(rollout, "it was aborted")


def can_go_back(rollout: Rollout) -> bool:
    """Say whether there is another version that came up whole once."""
    return rollout.stable is not None and not rollout.is_back and rollout.stable != rollout.target


def back(rollout: Rollout, reason: str) -> Rollout:
    """Return the update on its way back to the stable version."""
    return msgspec.structs.replace(
        rollout, phase=P.ROLLING_BACK, is_back=True, reason=reason, failed=()
    )


def advance(rollout: Rollout, progress: Progress) -> Rollout:
    """Return the record after looking at the slots.

    Args:
        rollout: what `wanted` returned.
        progress: how its slots are.
    """
    noted = rollout if rollout.is_settled else _noted(rollout, progress.seen)
    if rollout.is_settled or rollout.phase is P.PAUSED:
        return noted
    # What has failed is tried on and on: should it come up after all, it is an end like any other.
    why = "" if rollout.phase is P.FAILED else _why_failed(noted, progress)
    if why:
        return _failed(noted, why)
    if noted.phase is P.CANARY:
        return _promoted_in_time(noted, progress)
    if is_canary(noted) and _canaries_are_well(noted, progress):
        return msgspec.structs.replace(noted, phase=P.CANARY)
    return _done(noted) if _is_through(noted, progress) else noted


def _why_failed(rollout: Rollout, progress: Progress) -> str:
    """Return what has failed the version in hand; empty: nothing has."""
    policy = policy_of(rollout)
    if progress.broken:
        return progress.broken
    tolerated = int(policy.max_failure_ratio * len(progress.slots))
    if len(_slots(rollout.failed)) > tolerated:
        return progress.seen.failed.get(rollout.failed[-1], "its copies failed")
    is_late = progress.still_s >= policy.progress_deadline_s
    if is_late and rollout.phase is not P.CANARY and not _is_through(rollout, progress):
        what = progress.blocked or "no slot got further"
        return f"not ready within {policy.progress_deadline_s:g} s: {what}"
    return ""


def _promoted_in_time(rollout: Rollout, progress: Progress) -> Rollout:
    auto_s = rollout.target.update.auto_promote_s
    is_due = auto_s is not None and progress.still_s >= auto_s
    return _ruled(rollout, Verb.PROMOTE) if is_due else rollout


def _is_through(rollout: Rollout, progress: Progress) -> bool:
    return progress.is_whole and progress.still_s >= watch_s(rollout)


def watch_s(rollout: Rollout) -> float:
    """Return how long the last copy is watched once it has taken over."""
    is_first = rollout.stable is None or is_alike(rollout.stable, rollout.target)
    return 0.0 if is_first else policy_of(rollout).monitor_s


def _canaries_are_well(rollout: Rollout, progress: Progress) -> bool:
    canaries = {slot for slot in progress.slots if slot <= rollout.target.update.canary}
    return progress.seen.settled >= canaries


def _noted(rollout: Rollout, seen: Seen) -> Rollout:
    known = {*rollout.failed, *rollout.pardoned}
    new = [id_ for id_ in sorted(seen.failed) if id_ not in known]
    if not new:
        return rollout
    failed = (*rollout.failed, *new)[-FAILED_MAX:]
    return msgspec.structs.replace(rollout, failed=failed)


def _slots(failed: Iterable[AllocId]) -> frozenset[str]:
    return frozenset(id_.split(".")[_SLOT] for id_ in failed)


def _failed(rollout: Rollout, why: str) -> Rollout:
    action = policy_of(rollout).failure_action
    if action is FailureAction.ROLLBACK and can_go_back(rollout):
        return back(rollout, why)
    if rollout.is_back:
        why = f"{rollout.reason}; going back failed, too: {why}"
    if action is FailureAction.CONTINUE and not rollout.is_back:
        return msgspec.structs.replace(rollout, reason=why)
    phase = P.PAUSED if action is FailureAction.PAUSE and rollout.stable else P.FAILED
    return msgspec.structs.replace(rollout, phase=phase, reason=why)


def _done(rollout: Rollout) -> Rollout:
    if rollout.is_back:
        return msgspec.structs.replace(rollout, phase=P.ROLLED_BACK, failed=())
    # What was stopped before it came up has proven nothing.
    stable = rollout.stable if rollout.target.is_stopped else rollout.target
    return msgspec.structs.replace(
        rollout, phase=P.DONE, stable=stable, failed=(), reason="", is_promoted=False
    )


def marked(before: Mark | None, rollout: Rollout, seen: Seen, now: float) -> Mark:
    """Return when the update got further last: a slot more is through, or its phase changed."""
    phases = list(P)
    far = (
        rollout.generation,
        phases.index(rollout.phase) if rollout.phase is not P.FAILED else 0,
        rollout.is_back,
        rollout.is_promoted,
        len(seen.settled),
    )
    return before if before is not None and before.far == far else Mark(far, now)
