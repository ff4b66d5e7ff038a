"""Which address the next container of a node gets.

Pure. All nodes know it before the container starts. An address is given again only once the node
has reported that it knows that its last user is not assigned any more, and has nothing of it.
"""

from collections.abc import Iterable, Mapping

from scheduler.world import NodeState
from shared.model import Assignment, Workload
from shared.subnets import capacity_of, pick, taken_of


def needs_address(workload: Workload) -> bool:
    """Say whether a container has an address of its own: it has a network of its own."""
    return not workload.network_mode


class Addresses:
    """What a node has left to give while a plan is being made; it belongs to one draft.

    Args:
        node: as it is.
        held: what it will hold; what leaves later keeps its address, and what comes is given one.
    """

    def __init__(self, node: NodeState, held: Iterable[Assignment]) -> None:
        self.last = node.manifest.last_address if node.manifest is not None else ""
        self._subnet = node.spec.subnet
        self._taken = taken(node, held)

    @property
    def free(self) -> int:
        """Return how many are left."""
        return capacity_of(self._subnet) - taken_of(self._subnet, self._taken)

    def give(self) -> str:
        """Return the next one; empty when there is none, and then the node chooses."""
        found = pick(self._subnet, self._taken, self.last)
        if found is None:
            return ""
        self._taken.add(found)
        self.last = found
        return found


def taken(node: NodeState, held: Iterable[Assignment]) -> set[str]:
    """Return the addresses of a node that nothing new may have."""
    known = {one.address for one in held if one.address}
    reported = node.report.allocations if node.report is not None else ()
    seen = {status.address for status in reported if status.address}
    return known | seen | resting(node, held).keys()


def resting(node: NodeState, held: Iterable[Assignment]) -> Mapping[str, int]:
    """Return the addresses of a node's former allocations that it may not have let go of yet.

    Each with the generation of the manifest that is the first one without it.
    """
    before = node.manifest
    if before is None:
        return {}
    heard = node.report.manifest_generation if node.report is not None else 0
    known = {one.address for one in held}
    waits = {address: since for address, since in before.resting.items() if since > heard}
    freed = {one.address: before.generation + 1 for one in before.assignments if one.address}
    return {
        address: since
        for address, since in sorted({**waits, **freed}.items())
        if address not in known
    }
