"""Which nodes can be relied on: a lease that ended makes a node suspect, then lost.

Pure. The lease's end is the fact; the grace period gives an agent that was only slow the time to
come back.
"""

import enum
from collections.abc import Mapping
from typing import Final

from scheduler.world import NodeState, World
from shared.model import Availability, NodeName
from shared.settings import Detection


class Verdict(enum.StrEnum):
    """What the leader holds a node for."""

    READY = "ready"
    CORDONED = "cordoned"
    SUSPECT = "suspect"  # its lease ended, less than the grace period ago
    LOST = "lost"  # what it should run is placed elsewhere


# Below this many nodes a majority cannot be told from a minority.
_BRAKE_NODES_MIN: Final = 3


def grace_s(missing: int, total: int, detection: Detection) -> float:
    """Return how long a node stays suspect.

    When half of the cluster or more is silent at once, it is likelier that we are cut off, or that
    etcd stood still, than that they all died: wait one lease longer before moving everything.
    """
    is_mass_loss = total >= _BRAKE_NODES_MIN and missing * 2 >= total
    return detection.grace_s + (detection.lease_ttl_s if is_mass_loss else 0.0)


def verdicts(
    world: World, missing_since: Mapping[NodeName, float], now: float, detection: Detection
) -> Mapping[NodeName, Verdict]:
    """Return a verdict for every node.

    Args:
        world: what is known.
        missing_since: when we first saw that a node's lease had ended, by our monotonic clock.
        now: the same clock.
        detection: the timings.
    """
    allowed_s = grace_s(len(missing_since), len(world.nodes), detection)
    return {
        name: _verdict(node, missing_since.get(name), now, allowed_s)
        for name, node in world.nodes.items()
    }


def _verdict(node: NodeState, missing_since: float | None, now: float, allowed_s: float) -> Verdict:
    if node.alive:
        cordoned = node.spec.availability is Availability.CORDONED
        return Verdict.CORDONED if cordoned else Verdict.READY
    if missing_since is None or now - missing_since < allowed_s:
        return Verdict.SUSPECT
    return Verdict.LOST
