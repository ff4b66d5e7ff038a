"""Which images wait on which nodes, so that a replacement does not begin with a download.

Pure. For every service one node that could run it and does not is told to have its image. Which one
is found by rendezvous hashing: it moves only when the nodes that qualify change.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from scheduler.allocs import Asked
from scheduler.nodes import Verdict, Verdicts
from scheduler.place import meets
from scheduler.world import World
from shared.model import Assignment, NodeName

# Ranks of 100 images on 1,000 nodes.
_RANKS_MAX: Final = 100_000


def spare_images(
    world: World,
    verdicts: Verdicts,
    services: Iterable[Asked],
    held: Mapping[NodeName, Sequence[Assignment]],
) -> Mapping[NodeName, tuple[str, ...]]:
    """Return the images that each node should have though it runs none of them, sorted.

    Args:
        world: what is known.
        verdicts: a node that was given up or is cordoned is no spare; one that is doubted for a
            moment stays one.
        services: all of them.
        held: what every node will hold.
    """
    if world.frozen_stacks:
        # Nobody knows what an unreadable stack needs.
        return {name: node.manifest.images for name, node in world.nodes.items() if node.manifest}
    able = [
        node
        for name, node in world.nodes.items()
        if node.report is not None
        and not verdicts[name].is_given_up
        and verdicts[name] is not Verdict.CORDONED
    ]
    running: dict[str, set[NodeName]] = defaultdict(set)
    for name, assignments in held.items():
        for assignment in assignments:
            running[assignment.workload.image].add(name)
    found: dict[NodeName, set[str]] = defaultdict(set)
    for asked in services:
        if asked.spec is None or not asked.spec.replicas:
            continue
        image, constraints = asked.spec.workload.image, asked.spec.placement.constraints
        spare = max(
            (
                node.spec.name
                for node in able
                if node.spec.name not in running[image] and meets(node.spec, constraints)
            ),
            key=lambda name: (_rank(image, name), name),
            default=None,
        )
        if spare is not None:
            found[spare].add(image)
    return {name: tuple(sorted(images)) for name, images in found.items()}


@lru_cache(maxsize=_RANKS_MAX)
def _rank(image: str, node: NodeName) -> bytes:
    return blake2b(f"{image}\0{node}".encode(), digest_size=8).digest()
