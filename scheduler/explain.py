"""Why slots and standbys have no node, computed from the world by the very code that places them.

Pure. Any replica can answer, not only the leader: it decides as a leader would who has just begun.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

import msgspec

from scheduler.decide import Decision, decide
from scheduler.memory import Memory
from scheduler.place import Unplaceable
from scheduler.story import Now
from scheduler.world import SlotId, World
from shared.model import ServiceName, StackName
from shared.timing import Timing

Sentences = Mapping[ServiceName, tuple[str, ...]]


class Unplaced(msgspec.Struct, frozen=True, kw_only=True):
    """What no node takes of a stack, and what is not placed yet, by service, one sentence each.

    A standby without a node is no error: the service is only less safe.
    """

    slots: Sentences = {}
    standbys: Sentences = {}
    waits: Sentences = {}


class Kept(msgspec.Struct, frozen=True):
    """Every slot and standby that no node takes, and why other slots wait, a sentence each."""

    unplaceable: Sequence[Unplaceable] = ()
    held_up: Mapping[SlotId, str] = {}


def explain(world: World, stack: StackName, timing: Timing) -> Unplaced:
    """Return which slots and standbys of `stack` no node takes, and why."""
    slots: dict[ServiceName, list[str]] = defaultdict(list)
    standbys: dict[ServiceName, list[str]] = defaultdict(list)
    decision = _decided(world, timing)
    for each in decision.unplaceable:
        name, service = each.request.service
        if name != stack:
            continue
        if each.request.slot:
            slots[ServiceName(service)].append(f"slot {each.request.slot}: {each.reason}")
        else:
            standbys[ServiceName(service)].append(f"standby: {each.reason}")
    waits = {key[1]: said for key, said in decision.waiting.items() if key[0] == stack}
    return Unplaced(slots=_frozen(slots), standbys=_frozen(standbys), waits=waits)


def kept(world: World, timing: Timing) -> Kept:
    """Return why copies are where they are, and not placed anew."""
    decision = _decided(world, timing)
    return Kept(decision.unplaceable, decision.held_up)


def _decided(world: World, timing: Timing) -> Decision:
    return decide(world, Memory(), Now(0.0, 0.0), timing)


def _frozen(found: Mapping[ServiceName, list[str]]) -> Sentences:
    return {service: tuple(sentences) for service, sentences in found.items()}
