"""Copies that would have to end before their next one serves, and may not, or not yet.

Pure. Where the old copy goes first, it goes only if some node takes the next one: its own may not,
because it is cordoned or drained or has other labels by now. And it goes only while no more copies
of its service are away, for whatever reason, than an update may have between old and new.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

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
from shared.model import Availability, ServiceSpec


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
    """Return what has nowhere to go, or not now, and so does not end."""
    movers = {
        key: found
        for key, asked in services.items()
        if (found := _movers(asked, allocs.get(key, ())))
    }
    if not movers:
        return Stuck(services)
    requests = [
        request_of(world, services[key], wanted, {})
        for key, found in movers.items()
        for slot, wanted in found.items()
        if goes_first(services[key], services[key].slots[slot])
    ]
    homes = homes_of(world, {volume for request in requests for volume in request.volumes})
    placed = place(nodes_of(world, judged, Draft(world)), requests, homes)
    unplaceable = tuple(one for one in placed if isinstance(one, Unplaceable))
    slots: dict[tuple[str, str], set[int]] = {}
    for one in unplaceable:
        slots.setdefault(one.request.service, set()).add(one.request.slot)
    held = {
        key: _held(services[key], allocs[key], found.keys(), slots.get(key, set()))
        for key, found in movers.items()
    }
    return Stuck({**services, **held}, unplaceable)


def _held(
    asked: Asked, allocs: Iterable[Alloc], movers: AbstractSet[int], stays: AbstractSet[int]
) -> Asked:
    """Return the service with the copies that stay, and those that go once others are back."""
    limit = asked.spec.update.parallelism if asked.spec is not None else 0
    due = {slot for slot, plan in asked.slots.items() if plan.spec and not plan.waits_for}
    there = {alloc.assignment.slot for alloc in allocs if alloc.serves and asked.is_fresh(alloc)}
    free = max(limit - len(due - there - movers), 0) if limit else len(movers)
    later = sorted(movers - stays)[free:]
    why = f"of its copies that have to move, {limit} may be away at a time"
    plans = {slot: msgspec.structs.replace(asked.slots[slot], waits_for=why) for slot in later}
    return msgspec.structs.replace(
        asked, slots={**asked.slots, **plans}, stuck=frozenset({*stays, *later})
    )


def _movers(asked: Asked, allocs: Sequence[Alloc]) -> Mapping[int, Wanted]:
    """Return what takes the place of copies that end before it serves, and cannot come back.

    Of exclusive work it is there, and made: only then the one before ends.
    """
    followers = filter(asked.is_fresh, allocs) if asked.is_exclusive else ()
    made = {alloc.assignment.slot for alloc in followers if alloc.is_prepared}
    found: dict[int, Wanted] = {}
    for alloc in allocs:
        slot = alloc.assignment.slot
        plan = asked.slots.get(slot)
        if plan is None or plan.spec is None or plan.waits_for or _may_stay(alloc, plan.spec):
            continue
        is_first = slot in made or goes_first(asked, plan)
        if alloc.serves and not plan.fits(alloc) and is_first:
            found[slot] = Wanted(slot=slot, node=plan.node, spec=plan.spec, reason="")
    return found


def _may_stay(alloc: Alloc, spec: ServiceSpec) -> bool:
    home = alloc.home
    is_open = home is None or home.availability is Availability.ACTIVE
    return is_open and (home is None or meets(home, spec.placement.constraints))
