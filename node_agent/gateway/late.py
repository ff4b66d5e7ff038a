"""Which ports and routes wait until held requests have been answered or have failed.

Pure.
"""

from collections.abc import Mapping, Sequence

import msgspec

from node_agent.gateway.config import PACE_MS, Served, retries
from node_agent.gateway.wanted import EDGE
from shared.model import StackName


class Outcome(msgspec.Struct, frozen=True):
    """What came of a pass. `late`: stacks whose routes are not all in force."""

    problems: tuple[str, ...]
    late: frozenset[StackName] = frozenset()


def late(
    all_: Sequence[Served],
    shapes: Mapping[str, str],
    were_open: Mapping[str, str],
    held: Sequence[str],
) -> Outcome:
    """Say what waits, and for which services' requests.

    Args:
        all_: what should be served.
        shapes: of that, see wanted.shapes.
        were_open: the shapes of what HAProxy has.
        held: services with held requests.
    """
    waiting = [
        each
        for each in all_
        if were_open.get(each.backend) != shapes[each.backend]
        or (each.routes and EDGE not in were_open)
    ]
    longest_s = max(held_s(each) for each in all_ if each.service_id in held)
    why = f"waits up to {longest_s:g} s, since requests are held for {', '.join(held)}"
    return Outcome(
        tuple(f"{_named(each)} of {each.service_id} {why}" for each in waiting),
        frozenset(each.stack for each in waiting),
    )


def held_s(each: Served) -> float:
    """Return how long a request is held at most: what waits longer has failed already."""
    return retries(each.traffic) * PACE_MS / 1000


def _named(each: Served) -> str:
    if each.port.published:
        return f"port {each.port.published}"
    return f"route {', '.join(route.place for route in each.routes)}"
