"""What the peers of the nodes say of them: whose host is unreachable by a majority of its watchers.

Pure. A suspicion is one peer's word. It counts only from a peer that has a session and that is not
accused by a majority itself: of two halves that accuse each other, neither convicts.
"""

from collections.abc import Mapping

import msgspec

from scheduler.world import World
from shared.model import NodeName, Silence
from shared.votes import VOTES_NEEDED

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
    if not any(node.suspected_by for node in world.nodes.values()):
        return Word({}, {})  # as almost always
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
