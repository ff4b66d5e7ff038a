"""The life of an allocation as a table: which states there are, and which may follow which.

Pure. A restart of the container by its own node is not a state: the allocation stays RUNNING with
health `starting`, because the attempt to fill the slot on this node goes on.
"""

import enum
from collections.abc import Mapping
from typing import Final

from shared.errors import InvalidTransitionError


class AllocState(enum.StrEnum):
    """Where an allocation is. The order is the order of life: never backwards."""

    PENDING = "pending"  # written by the leader, not yet seen by the node
    PREPARING = "preparing"  # image, root file system, network
    RUNNING = "running"  # started; health is reported beside this
    STOPPING = "stopping"  # asked to stop, grace period running
    COMPLETE = "complete"  # exited as asked
    FAILED = "failed"  # could not start, or exited too often
    LOST = "lost"  # the leader's verdict, never an agent's report


_S = AllocState
TRANSITIONS: Final[Mapping[AllocState, frozenset[AllocState]]] = {
    _S.PENDING: frozenset({_S.PREPARING, _S.RUNNING, _S.COMPLETE, _S.FAILED, _S.LOST}),
    _S.PREPARING: frozenset({_S.RUNNING, _S.STOPPING, _S.FAILED, _S.LOST}),
    _S.RUNNING: frozenset({_S.STOPPING, _S.COMPLETE, _S.FAILED, _S.LOST}),
    _S.STOPPING: frozenset({_S.COMPLETE, _S.FAILED, _S.LOST}),
    _S.COMPLETE: frozenset(),
    _S.FAILED: frozenset(),
    _S.LOST: frozenset(),
}
TERMINAL: Final = frozenset(state for state, after in TRANSITIONS.items() if not after)


def advance(current: AllocState, target: AllocState) -> AllocState:
    """Return `target`; staying where one is is always allowed.

    Raises:
        InvalidTransitionError: the table has no such edge. A bug: let the process end.
    """
    if target != current and target not in TRANSITIONS[current]:
        raise InvalidTransitionError(current, target)
    return target
