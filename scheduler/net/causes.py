"""A cause of failed probes, and where it lies: the narrowest place that all of its failures share.

Pure.
"""

from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from scheduler.net.plan import Asked, Leg
from scheduler.net.seen import CONTAINER_LEGS, Pair
from shared.api import Finding, Level
from shared.model import NodeName

ALL_NODES: Final = "all nodes"
# Of two pairs of a node both may be broken by chance; of one nobody can say which end it is.
_PAIRS_MIN: Final = 2


class Cause(msgspec.Struct, frozen=True):
    """A finding and the probes whose failure it accounts for."""

    finding: Finding
    explains: frozenset[int] = frozenset()


def fail(where: str, what: str, advice: str) -> Finding:
    """Return a finding about something that does not work now."""
    return Finding(level=Level.FAIL, where=where, what=what, advice=advice)


def both(a: NodeName, b: NodeName) -> str:
    """Return how the way between two nodes is called."""
    return f"{min(a, b)} <-> {max(a, b)}"


def one_way(a: NodeName, b: NodeName) -> str:
    """Return how the way from one node to another is called."""
    return f"{a} -> {b}"


def undirected(asked: Iterable[Asked]) -> frozenset[Pair]:
    """Return the pairs of nodes, smaller name first, that probes are about."""
    return frozenset(
        (min(one.node, one.target), max(one.node, one.target))
        for one in asked
        if one.node != one.target
    )


def between(broken: Collection[Pair], tried: Collection[Pair]) -> list[tuple[str, frozenset[Pair]]]:
    """Return the narrowest places for pairs that are broken both ways.

    All pairs of the cluster, all pairs of a node, or a pair alone.
    """
    left, places = set(broken), list[tuple[str, frozenset[Pair]]]()
    if len(left) > _PAIRS_MIN and left == set(tried):
        return [(ALL_NODES, frozenset(left))]
    for node in sorted({name for pair in broken for name in pair}):
        own = {pair for pair in tried if node in pair}
        if len(own) >= _PAIRS_MIN and own <= set(broken):
            places.append((node, frozenset(own)))
            left -= own
    return [*places, *((both(*pair), frozenset({pair})) for pair in sorted(left))]


def towards(broken: Collection[Pair], tried: Collection[Pair]) -> list[tuple[str, frozenset[Pair]]]:
    """Return the narrowest places for ways, from a node to another, that are broken.

    A target that nobody reaches, a source that reaches nobody, or a way alone.
    """
    left, places = set(broken), list[tuple[str, frozenset[Pair]]]()
    for end in (1, 0):
        for node in sorted({pair[end] for pair in left}):
            own = {pair for pair in tried if pair[end] == node}
            if len(own) >= _PAIRS_MIN and own <= left:
                places.append((node, frozenset(own)))
                left -= own
    return [*places, *((one_way(*pair), frozenset({pair})) for pair in sorted(left))]


def nodes_of(pairs: Iterable[Pair]) -> frozenset[NodeName]:
    """Return every node of some pairs."""
    return frozenset(name for pair in pairs for name in pair)


def touches(one: Asked, pair: Pair) -> bool:
    """Say whether a probe may take the way between two nodes."""
    if {one.node, one.target} == set(pair):
        return True
    return one.node in pair and bool(one.homes & set(pair) - {one.node})


def crosses(one: Asked, node: NodeName) -> bool:
    """Say whether a node has to forward a probe or its answer to or from a container of its own."""
    if one.leg is Leg.VIP:
        return one.node == node or node in one.homes
    if one.node == one.target:
        return False
    if one.leg in CONTAINER_LEGS:
        return node in {one.node, one.target}
    if one.leg is Leg.HOST_TO_CONTAINER:
        return one.target == node
    return one.leg is Leg.CONTAINER_TO_HOST and one.node == node


def takes_route(one: Asked, source: NodeName, target: NodeName) -> bool:
    """Say whether a probe or its answer needs `source`'s route to `target`'s containers."""
    if one.leg in CONTAINER_LEGS:
        return {one.node, one.target} == {source, target}
    if one.leg is Leg.HOST_TO_CONTAINER:
        return (one.node, one.target) == (source, target)
    return one.leg is Leg.VIP and (
        (one.node == source and target in one.homes) or (one.node == target and source in one.homes)
    )
