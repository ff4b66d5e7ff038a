"""Whose host is unreachable by a majority of its watchers, as every agent reads it from etcd.

Pure. The leader gives up a host by the same rule (scheduler.votes): a peer's word counts while it
has a session and is not accused by a majority itself, and nobody is convicted while half of the
nodes are accused.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet

from node_agent.peers.watchers import watchers_of
from shared.model import NodeName, Revision, Silence
from shared.votes import VOTES_NEEDED, is_mass

# Who says what of whom: node -> peer -> (what is silent, the revision of its word).
Words = Mapping[NodeName, Mapping[NodeName, tuple[Silence, Revision]]]
# Whose host is unreachable, and the words that say so.
Convicted = Mapping[NodeName, Mapping[NodeName, Revision]]


def convicted(
    words: Words, nodes: AbstractSet[NodeName], present: AbstractSet[NodeName]
) -> Convicted:
    """Return the nodes whose hosts are unreachable by their watchers' word.

    Args:
        words: every suspicion.
        nodes: all nodes of the cluster.
        present: those that have a session.
    """
    accused = _accused(words, nodes, present)
    found = _accused(words, nodes, present - accused.keys())
    return {} if is_mass(len(accused), len(nodes)) else found


def _accused(
    words: Words, nodes: AbstractSet[NodeName], voters: AbstractSet[NodeName]
) -> Convicted:
    found = {}
    for node in sorted(words.keys() & nodes):
        said = {
            peer: revision
            for peer, (silence, revision) in sorted(words[node].items())
            if silence is Silence.HOST and peer in voters and peer != node
        }
        if len(said) >= VOTES_NEEDED:
            found[node] = said
    return found


def voters_of(
    me: NodeName, nodes: Sequence[NodeName], present: AbstractSet[NodeName]
) -> tuple[NodeName, ...]:
    """Return the nodes whose word could convict this one now."""
    return tuple(peer for peer in watchers_of(me, nodes) if peer in present)


def contact_until(answered_s: Mapping[NodeName, float | None], contact_s: float) -> float | None:
    """Return until when too few of our voters miss us to convict us; None: they are too few.

    Args:
        answered_s: by voter, when we sent the newest of our probes that it has answered; None: it
            never did.
        contact_s: how old that may be.
    """
    if len(answered_s) < VOTES_NEEDED:
        return None
    ends = sorted(-1.0 if at is None else at + contact_s for at in answered_s.values())
    return ends[VOTES_NEEDED - 1]
