"""Why slots have no node, computed from the world alone by the very code that places them.

Pure. Any replica can answer, not only the leader: it decides as a leader would who has just begun.
"""

from collections import defaultdict
from collections.abc import Mapping

from scheduler.decide import Now, decide
from scheduler.memory import Memory
from scheduler.world import World
from shared.model import ServiceName, StackName
from shared.settings import Detection


def waiting(world: World, stack: StackName) -> Mapping[ServiceName, tuple[str, ...]]:
    """Return, for each service of `stack` with slots that no node takes, one sentence a slot."""
    decision = decide(world, Memory(), Now(0.0, 0.0), Detection())
    found: dict[ServiceName, list[str]] = defaultdict(list)
    for each in decision.unplaceable:
        if each.request.service[0] == stack:
            sentence = f"slot {each.request.slot}: {each.reason}"
            found[ServiceName(each.request.service[1])].append(sentence)
    return {service: tuple(sentences) for service, sentences in found.items()}
