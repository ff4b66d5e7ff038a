"""Containers that are made beforehand, so that taking over is one step.

Pure. A slot that wants an allocation takes a standby if there is one. Standbys are placed only once
every slot is filled, and so are younger than all that runs: of an exclusive slot, the one with the
greater epoch is the one that may write.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import msgspec

from scheduler.allocs import Alloc, Asked
from scheduler.changes import Changes, Times, Wanted, merged, retried
from scheduler.nodes import Verdict
from shared.model import AllocId, Want


def with_standbys(
    asked: Asked,
    changes: Changes,
    replicas: Sequence[Alloc],
    standbys: Sequence[Alloc],
    times: Times,
) -> Changes:
    """Return `changes` with standbys put to use and kept ready.

    Args:
        asked: the service as it should be.
        changes: what its slots need.
        replicas: its allocations that fill slots or did.
        standbys: those that wait.
        times: for backoff.
    """
    activate = _activated(asked, changes.wanted, replicas, standbys)
    slots = {wanted.slot for wanted in activate.values()}
    rest = msgspec.structs.replace(
        changes,
        activate=activate,
        wanted=tuple(wanted for wanted in changes.wanted if wanted.slot not in slots),
    )
    waiting = [alloc for alloc in standbys if alloc.id not in activate]
    return merged([rest, _tended(asked, replicas, waiting, times)])


def _activated(
    asked: Asked,
    slots: Iterable[Wanted],
    replicas: Sequence[Alloc],
    standbys: Sequence[Alloc],
) -> Mapping[AllocId, Wanted]:
    """Return which standby takes which slot, the oldest first."""
    usable = sorted(
        (
            alloc
            for alloc in standbys
            if alloc.is_prepared
            and alloc.verdict is Verdict.READY
            and _why_stale(asked, alloc, replicas) is None
        ),
        key=lambda alloc: (alloc.epoch, alloc.id),
    )
    activated: dict[AllocId, Wanted] = {}
    for wanted in slots:
        fit = (one for one in usable if one.id not in activated and one.has(wanted.spec))
        if (first := next(fit, None)) is not None:
            activated[first.id] = wanted
    return activated


def _why_stale(asked: Asked, alloc: Alloc, replicas: Iterable[Alloc]) -> str | None:
    """Return why a standby is of no use any more; None: it is of use."""
    if asked.standby == 0:
        return "it is no longer asked for"
    if alloc.must_leave:
        return f"{alloc.node} is being drained"
    if asked.standby_spec is None or not alloc.has(asked.standby_spec):
        return "its service has changed"
    staying = [one for one in replicas if one.assignment.want is Want.RUN and not one.is_given_up]
    if any(one.node == alloc.node for one in staying):
        return "its node runs a replica now"
    if asked.is_exclusive and alloc.epoch <= _newest_epoch(asked, replicas):
        return "something newer was placed since"
    return None


def _newest_epoch(asked: Asked, replicas: Iterable[Alloc]) -> int:
    return max(chain((one.epoch for one in replicas), asked.claimed.values()), default=-1)


def _tended(
    asked: Asked, replicas: Sequence[Alloc], waiting: Sequence[Alloc], times: Times
) -> Changes:
    """Return what brings the standbys to the number that is asked for, one at a time."""
    drop: dict[AllocId, str] = {}
    for alloc in waiting:
        why = "its node is lost" if alloc.is_lost else _why_stale(asked, alloc, replicas)
        if why is not None:
            drop[alloc.id] = why
    left = [alloc for alloc in waiting if alloc.id not in drop]
    failed = [alloc for alloc in left if alloc.has_failed]
    # One on an unreachable node stays there until it is known to be surplus.
    good = sorted(
        (alloc for alloc in left if not alloc.has_failed and not alloc.is_given_up),
        key=lambda alloc: (not alloc.is_prepared, alloc.epoch, alloc.id),
    )
    surplus = [*good[asked.standby :], *(failed if len(good) >= asked.standby else ())]
    drop |= {alloc.id: "there are enough without it" for alloc in surplus}
    if len(good) >= asked.standby or not _is_filled(asked, replicas):
        return Changes(drop=drop)
    assert asked.standby_spec is not None, "it asks for standbys"
    wanted = Wanted(
        slot=0,
        want=Want.STANDBY,
        spec=asked.standby_spec,
        barred=frozenset(alloc.node for alloc in (*replicas, *good) if not alloc.is_lost),
        reason=f"{len(good)} of {asked.standby} standbys are there",
    )
    more = retried(wanted, failed, times) if failed else Changes(wanted=(wanted,))
    return merged([Changes(drop=drop), more])


def _is_filled(asked: Asked, replicas: Iterable[Alloc]) -> bool:
    ready = {alloc.assignment.slot for alloc in replicas if alloc.serves and asked.is_fresh(alloc)}
    return ready >= asked.slots.keys()
