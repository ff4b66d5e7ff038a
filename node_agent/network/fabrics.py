"""Several parts of the node's kernel as one."""

from collections.abc import Sequence

from node_agent.network.fabric import Fabric, FabricStatus, Topology


class Fabrics:
    """Implements Fabric: applies each of `parts` in their order.

    A stack's routes are in force where all of them have them, with the least of their revisions.
    """

    def __init__(self, *parts: Fabric) -> None:
        self._parts = parts

    async def apply(self, topology: Topology, *, looks: bool = True) -> FabricStatus:
        """Make the whole of `topology` true in every part."""
        return together([await part.apply(topology, looks=looks) for part in self._parts])


def together(found: Sequence[FabricStatus]) -> FabricStatus:
    """Return what is in force everywhere, what is busy anywhere, and all problems."""
    everywhere = frozenset.intersection(*(frozenset(one.acked) for one in found))
    return FabricStatus(
        acked={stack: min(one.acked[stack] for one in found) for stack in sorted(everywhere)},
        problems=tuple(problem for one in found for problem in one.problems),
        busy=tuple(sorted({id_ for one in found for id_ in one.busy})),
    )
