"""What the peers of the nodes say of them: whose host is unreachable by a majority of its watchers.

Pure. A suspicion is one peer's word. It counts only from a peer that has a session and that is not
accused by a majority itself: of two halves that accuse each other, neither convicts.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from scheduler.world import World
from shared.model import NodeName, Silence

# Every node is watched by so many peers, or by all others where there are fewer.
WATCHERS: Final = 3
# A majority of three; of two, both. A single peer never convicts: the fault may be its own.
VOTES_NEEDED: Final = WATCHERS // 2 + 1
# From half of the cluster on, it is likelier that we, or the network, are cut off than that so many
# hosts died at once. In a large cluster a quarter is already more than dies by accident.
_HALF: Final = 2
_QUARTER: Final = 4
_LARGE_NODES: Final = 9
# Below this many nodes a majority cannot be told from a minority.
_BRAKE_NODES_MIN: Final = 3

Votes = Mapping[NodeName, tuple[NodeName, ...]]


class Word(msgspec.Struct, frozen=True):
    """What the peers say that counts.

    Attributes:
        host: per node, the peers that hear neither its agent nor its kernel.
        agent: per node, the peers that hear its kernel only.
    """

    host: Votes
    agent: Votes

    def is_confirmed(self, node: NodeName) -> bool:
        """Say whether a majority of its watchers cannot reach the node's host."""
        return len(self.host.get(node, ())) >= VOTES_NEEDED


def word(world: World) -> Word:
    """Return the votes that count, each in order of name."""
    living = frozenset(name for name, node in world.nodes.items() if node.alive)
    accused = frozenset(
        name
        for name, peers in _votes(world, living, Silence.HOST).items()
        if len(peers) >= VOTES_NEEDED
    )
    sound = living - accused
    return Word(_votes(world, sound, Silence.HOST), _votes(world, sound, Silence.AGENT))


def _votes(world: World, voters: frozenset[NodeName], silence: Silence) -> Votes:
    found: dict[NodeName, tuple[NodeName, ...]] = {}
    for name, node in world.nodes.items():
        said = (peer for peer, what in node.suspected_by.items() if what is silence)
        peers = tuple(sorted(peer for peer in said if peer in voters and peer != name))
        if peers:
            found[name] = peers
    return found


def is_mass(troubled: int, total: int) -> bool:
    """Say whether too many nodes are in trouble at once to believe it of each."""
    share = _QUARTER if total >= _LARGE_NODES else _HALF
    return total >= _BRAKE_NODES_MIN and troubled * share >= total
