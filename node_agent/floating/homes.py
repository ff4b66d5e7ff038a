"""Which node should take a floating address that nobody has: all nodes come to the same answer.

Pure. The one with the fewest addresses is first; of equal ones that which weighs most with the
address (rendezvous hashing), so that addresses spread, and no node is first for all. Who has one
keeps it: a node that comes back takes nothing from those that are well, see level.py for later.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from hashlib import blake2b

import msgspec

from shared.labels import meets
from shared.model import Availability, FloatingAddress, FloatingClaim, NodeName, NodeSpec


class NodeNow(msgspec.Struct, frozen=True):
    """A node as this one sees it.

    Attributes:
        is_well: it has a session, and no watcher says that its host is silent.
        serves: whether its gateway does, by its own word; None: there is no word of it.
    """

    spec: NodeSpec
    is_well: bool = True
    serves: bool | None = None

    @property
    def is_active(self) -> bool:
        """Say whether an operator lets it take more."""
        return self.spec.availability is Availability.ACTIVE

    @property
    def standing(self) -> tuple[bool, bool]:
        """Return how well it could answer clients; they are served, that comes first."""
        return self.serves is not False, self.is_active


def candidates(record: FloatingAddress, nodes: Iterable[NodeNow]) -> frozenset[NodeName]:
    """Return who may have the address.

    Where there are others, nodes whose gateways do not serve may not, and then cordoned ones.
    """
    allowed = {
        node.spec.name: node.standing
        for node in nodes
        if node.is_well and meets(node.spec, record.constraints)
    }
    best = max(allowed.values(), default=None)
    return frozenset(name for name, standing in allowed.items() if standing == best)


def homes(
    records: Mapping[str, FloatingAddress],
    claims: Mapping[str, FloatingClaim],
    nodes: Iterable[NodeNow],
    gone: AbstractSet[NodeName],
) -> Mapping[str, tuple[NodeName, ...]]:
    """Return for each address that needs a holder who should be it, the first choice first.

    Args:
        records: every floating address.
        claims: those that there are.
        nodes: all nodes.
        gone: those whose hosts are unreachable: what they have needs a holder.
    """
    known = tuple(nodes)
    kept = {
        address: claim.node
        for address, claim in claims.items()
        if claim.node and claim.node not in gone and address in records
    }
    loads: dict[NodeName, int] = {}
    for holder in kept.values():
        loads[holder] = loads.get(holder, 0) + 1
    found = {}
    for address in sorted(records.keys() - kept.keys()):
        claim = claims.get(address)
        heir = claim.heir if claim is not None else NodeName("")
        ranking = _ranking(address, candidates(records[address], known), loads, heir)
        found[address] = ranking
        for first in ranking[:1]:
            loads[first] = loads.get(first, 0) + 1
    return found


def _ranking(
    address: str, allowed: Iterable[NodeName], loads: Mapping[NodeName, int], heir: NodeName
) -> tuple[NodeName, ...]:
    weighed = sorted(allowed, key=lambda node: (weight(address, node), node), reverse=True)
    return tuple(sorted(weighed, key=lambda node: (node != heir, loads.get(node, 0))))


def weight(address: str, node: NodeName) -> bytes:
    """Return how much a node weighs with an address: of equal nodes the heaviest is chosen."""
    return blake2b(f"{address}/{node}".encode(), digest_size=8).digest()
