"""Copies that would have to end before their next one is placed, and have nowhere to go.

Pure. Where the old copy goes first, it goes only if some node takes the next one: its own may not,
because it is cordoned or drained or has other labels by now.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from scheduler.allocs import Alloc, Asked
from scheduler.changes import Wanted
from scheduler.draft import Draft
from scheduler.homes import homes_of
from scheduler.nodes import Judged
from scheduler.orchestrate import goes_first
from scheduler.place import Unplaceable, place
from scheduler.requests import nodes_of, request_of
from scheduler.world import ServiceId, World
from shared.labels import meets
from shared.model import Availability, ServiceSpec, Want


class Stuck(msgspec.Struct, frozen=True):
    """The services, with what keeps their copies where they are, and why no node takes it."""

    services: Mapping[ServiceId, Asked]
    unplaceable: tuple[Unplaceable, ...] = ()


def stuck(
    world: World,
    judged: Judged,
    services: Mapping[ServiceId, Asked],
    allocs: Mapping[ServiceId, Sequence[Alloc]],
) -> Stuck:
    """Return what has nowhere to go and so does not end."""
    requests = [
        request_of(world, asked, wanted, {})
        for key, asked in services.items()
        for wanted in _movers(asked, allocs.get(key, ()))
    ]
    if not requests:
        return Stuck(services)
    homes = homes_of(world, {volume for request in requests for volume in request.volumes})
    placed = place(nodes_of(world, judged, Draft(world)), requests, homes)
    unplaceable = tuple(one for one in placed if isinstance(one, Unplaceable))
    slots: dict[tuple[str, str], set[int]] = {}
    for one in unplaceable:
        slots.setdefault(one.request.service, set()).add(one.request.slot)
    held = {
        key: msgspec.structs.replace(asked, stuck=frozenset(slots[key])) if key in slots else asked
        for key, asked in services.items()
    }
    return Stuck(held, unplaceable)


def _movers(asked: Asked, allocs: Iterable[Alloc]) -> Iterable[Wanted]:
    """Return what would take the place of copies that go first and cannot come back."""
    found: dict[int, Wanted] = {}
    for alloc in allocs:
        slot = alloc.assignment.slot
        plan = asked.slots.get(slot)
        if plan is None or plan.spec is None or plan.waits_for or _may_stay(alloc, plan.spec):
            continue
        is_there = alloc.is_ready and alloc.assignment.want is Want.RUN
        if is_there and not plan.fits(alloc) and goes_first(asked, plan):
            found[slot] = Wanted(slot=slot, node=plan.node, spec=plan.spec, reason="")
    return found.values()


def _may_stay(alloc: Alloc, spec: ServiceSpec) -> bool:
    home = alloc.home
    is_open = home is None or home.availability is Availability.ACTIVE
    return is_open and (home is None or meets(home, spec.placement.constraints))
