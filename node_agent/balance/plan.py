"""What the kernel of one node should do with traffic to services: from all stacks to one table.

Pure.
"""

from collections.abc import Iterable, Mapping

import msgspec

from node_agent.balance.family import Family
from node_agent.balance.flows import Draining, Entrance, Reach
from node_agent.balance.parts import Part, Share
from node_agent.balance.table import Found, Table
from shared.model import AllocId


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What should be.

    Attributes:
        table: what the kernel should have.
        reaches: by entrance, the endpoints that its connections may lead to.
        problems: what cannot be served here, one sentence each.
    """

    table: Table
    reaches: Mapping[Entrance, Reach] = {}
    problems: tuple[str, ...] = ()


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to know of the node besides routes.

    Attributes:
        family: IPv4 or IPv6: what is balanced, and what the kernel has, is of this one.
        found: what the kernel has now: whoever has a port or an address keeps it.
        listening: "udp . 53" of each port that some program of the host listens on.
    """

    family: Family
    found: Found
    listening: frozenset[str] = frozenset()


def opens(shares: Iterable[Share], found: Found) -> bool:
    """Say whether a port is to be opened that the kernel does not have yet."""
    held = found.maps.get("ports", {})
    return any(
        part.rules and not part.entrance.address and part.key not in held
        for share in shares
        for part in share.parts
    )


def plan(shares: Iterable[Share], place: Place) -> Plan:
    """Return what the kernel should have so that all of `shares` are served."""
    shares = tuple(shares)
    parts = [part for share in shares for part in share.parts]
    kept, refused = _kept((part for part in parts if part.rules), place)
    closed = [part for part in parts if not part.rules]
    vips = {part.key: part.chain for part in kept if part.entrance.address}
    return Plan(
        table=Table(
            family=place.family,
            chains={part.chain: part.rules for part in kept},
            vips=vips,
            leaving=frozenset(place.found.maps.get("vips", {}).keys() - vips.keys()),
            ports={part.key: part.chain for part in kept if not part.entrance.address},
            hairpin=frozenset().union(*(share.hairpin for share in shares)),
            far=frozenset().union(*(part.far for part in kept)),
        ),
        reaches=_reaches((*kept, *closed)),
        problems=(*(problem for share in shares for problem in share.problems), *refused),
    )


def draining_of(shares: Iterable[Share]) -> Draining:
    """Return the endpoints that drain, by the entrances that still lead to them."""
    found: dict[Entrance, tuple[tuple[str, AllocId], ...]] = {}
    for part in (part for share in shares for part in share.parts if part.draining):
        found[part.entrance] = (*found.get(part.entrance, ()), *part.draining)
    return found


def _reaches(parts: Iterable[Part]) -> Mapping[Entrance, Reach]:
    found: dict[Entrance, Reach] = {}
    for part in parts:
        other, reach = found.get(part.entrance), part.reach
        if other is not None:
            reach = Reach(listed=reach.listed | other.listed, served=reach.served | other.served)
        found[part.entrance] = reach
    return found


def _kept(parts: Iterable[Part], place: Place) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """Return what can be served, and a sentence for each entrance that cannot.

    Of two services that want the same one, the one that has it keeps it, else the first by name.
    """
    maps = place.found.maps
    held = {**maps.get("vips", {}), **maps.get("ports", {})}
    kept: dict[str, Part] = {}
    problems: list[str] = []
    for part in sorted(parts, key=lambda one: (held.get(one.key) != one.chain, one.chain)):
        what = (
            f"virtual address {part.entrance.address}"
            if part.entrance.address
            else f"port {part.entrance.port}/{part.entrance.protocol}{place.family.where}"
        )
        if part.key in kept:
            problems.append(f"{what} of {part.service} belongs to {kept[part.key].service}")
        elif part.key in place.listening and held.get(part.key) != part.chain:
            problems.append(f"{what} of {part.service} is taken by another program on this node")
        else:
            kept[part.key] = part
    return tuple(kept[key] for key in sorted(kept)), tuple(sorted(problems))
