"""Which floating address should move so that no node has two more than another that may have it.

Pure. After failures one node may hold all addresses. Every agent computes the one move that comes
next; the holder of that address makes it, when nothing has changed for Timing.level_s. A move ends
connections, so the address whose holder took it last goes: its connections are the youngest.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from node_agent.floating.homes import NodeNow, candidates, weight
from shared.model import FloatingAddress, FloatingClaim, NodeName

# With one more or less nothing is gained by a move: it would only change which node has the more.
_DIFFERENCE_MIN: Final = 2


# Addresses with nodes that were to take them and did not, for reasons that only they know.
Declined = AbstractSet[tuple[str, NodeName]]


class Move(msgspec.Struct, frozen=True):
    """An address, and who should have it."""

    address: str
    to: NodeName


def level(
    records: Mapping[str, FloatingAddress],
    claims: Mapping[str, FloatingClaim],
    nodes: Iterable[NodeNow],
    declined: Declined = frozenset(),
) -> Move | None:
    """Return the move that comes next; None: all is level, or an address has no sound holder.

    Args:
        records: every floating address.
        claims: those that there are.
        nodes: all nodes.
        declined: what is not tried again.
    """
    known = tuple(nodes)
    active = {node.spec.name for node in known if node.is_well and node.is_active}
    held = {address: claims[address].node for address in records if address in claims}
    if len(held) < len(records) or not active.issuperset(held.values()):
        return None
    loads = dict.fromkeys(active, 0)
    for holder in held.values():
        loads[holder] += 1
    if max(loads.values(), default=0) - min(loads.values(), default=0) < _DIFFERENCE_MIN:
        return None
    found = [
        (loads[holder] - loads[to], claims[address].since_s, weight(address, to), address, to)
        for address, holder in held.items()
        if not _was_sent(records[address], holder)
        for to in candidates(records[address], known)
        if to in active and loads[holder] - loads[to] >= _DIFFERENCE_MIN
        if (address, to) not in declined
    ]
    return Move(*max(found)[-2:]) if found else None


def _was_sent(record: FloatingAddress, holder: NodeName) -> bool:
    """Say whether a person moved it to who has it: it stays."""
    return record.moves > 0 and record.move_to == holder
