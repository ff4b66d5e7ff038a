"""What a decision adds to the cluster's story: one sentence for each thing that a person would ask.

Pure.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from scheduler.nodes import Judged, Verdict, Verdicts
from scheduler.world import ServiceId, World
from shared.model import Event, NodeName, Rollout, RolloutPhase


class Now(msgspec.Struct, frozen=True):
    """The two clocks that a pass needs: monotonic for durations, wall for display."""

    monotonic_s: float
    wall_s: float


def node_events(world: World, told: Verdicts, judged: Judged, now: Now) -> Iterable[Event]:
    """Return what is new about the nodes since `told`."""
    for name, verdict in judged.verdicts.items():
        if world.nodes[name].report is None:
            continue  # It is joining: it has no story yet.
        kind = _kind(told.get(name, Verdict.READY), verdict)
        if kind:
            said = "it answers again" if kind == "node_back" else "somebody said so"
            reason = judged.reasons.get(name, said)
            yield Event(kind=kind, subject=name, reason=reason, at_s=now.wall_s, node=name)


def _kind(before: Verdict, verdict: Verdict) -> str:
    if verdict is before or (verdict is Verdict.SUSPECT and not before.is_sound):
        return ""
    if verdict in _KINDS:
        return _KINDS[verdict]
    if not before.is_sound:
        return "node_back"
    return "node_uncordoned" if before.is_by_order else ""


_KINDS: Final = {
    Verdict.LOST: "node_lost",
    Verdict.UNREACHABLE: "node_unreachable",
    Verdict.SUSPECT: "node_suspect",
    Verdict.PROBATION: "node_flapping",
    Verdict.CORDONED: "node_cordoned",
    Verdict.DRAINING: "node_draining",
}


def placed_event(subject: str, node: NodeName, reason: str, now: Now, *, anew: bool) -> Event:
    """Return that a node was given a slot, with a container made anew or beforehand."""
    kind = "placed" if anew else "activated"
    return Event(kind=kind, subject=subject, reason=reason, at_s=now.wall_s, node=node)


def rollout_events(
    world: World, rollouts: Mapping[ServiceId, Rollout], now: Now
) -> Iterable[Event]:
    """Return what is new about the services' updates."""
    for key, rollout in rollouts.items():
        known = world.rollouts.get(key)
        if known is not None and known.rollout.phase is rollout.phase:
            continue
        if rollout.phase is RolloutPhase.DONE and rollout.target.mode.is_job and not rollout.run:
            continue  # It waits for its first moment.
        kind = f"update_{rollout.phase.replace('-', '_')}"
        reason = rollout.reason or f"generation {rollout.generation}"
        yield Event(kind=kind, subject=f"{key[0]}.{key[1]}", reason=reason, at_s=now.wall_s)
