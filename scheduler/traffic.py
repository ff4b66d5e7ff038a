"""Which routes are to be written: those of every stack, whole, as they will be after the plan.

Pure.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import msgspec

from scheduler.allocs import Alloc, Asked, allocs_on
from scheduler.draft import Draft
from scheduler.nodes import Judged
from scheduler.plan import Write
from scheduler.routes import routes_of
from scheduler.vips import virtual_addresses, wants_vip
from scheduler.world import ServiceId, World
from shared import keys
from shared.model import AllocId, Network, Revision, Stack, StackName

ByService = Mapping[ServiceId, Sequence[Alloc]]


class Routable(msgspec.Struct, frozen=True, kw_only=True):
    """What routes are made of.

    Attributes:
        services: every one that is asked for or still has allocations.
        allocs: as they will be once the plan is written, in order of id.
        soaking: those that get no requests yet.
        vips: the network of virtual addresses; empty: there are none.
    """

    services: Mapping[ServiceId, Asked]
    allocs: ByService
    soaking: AbstractSet[AllocId] = frozenset()
    vips: str = ""


def by_service(allocs: Iterable[Alloc]) -> Mapping[ServiceId, list[Alloc]]:
    """Return allocations by their service; an order of theirs is kept."""
    found: dict[ServiceId, list[Alloc]] = defaultdict(list)
    for alloc in allocs:
        assignment = alloc.assignment
        found[assignment.stack, assignment.service].append(alloc)
    return found


def planned(
    world: World,
    judged: Judged,
    draft: Draft,
    now: ByService,
    ready_since: Mapping[AllocId, float],
) -> ByService:
    """Return the allocations as they will be after the write.

    Args:
        world: as it is.
        judged: what its nodes are held for.
        draft: what they will hold.
        now: the allocations as they are; those that stay as they are are taken from here.
        ready_since: what the leader remembers of them.
    """
    if not draft.is_touched:
        return now
    known = {alloc.id: alloc for allocs in now.values() for alloc in allocs}
    after: list[Alloc] = []
    for name in world.nodes:
        new = []
        for one in draft.assignments[name]:
            alloc = known.get(one.id)
            if alloc is not None and alloc.assignment is one:
                after.append(alloc)
            else:
                new.append(one)
        after += allocs_on(world, judged, name, new, ready_since) if new else ()
    after.sort(key=lambda alloc: alloc.id)
    return by_service(after)


def routes_writes(world: World, routable: Routable) -> Iterable[Write]:
    """Return the routes that differ from what is written."""
    asked: dict[StackName, list[Asked]] = defaultdict(list)
    for key, each in routable.services.items():
        asked[key[0]].append(each)
    vips, known = _virtual_addresses(world, routable), networks_made(world)
    for stack in sorted(asked.keys() | (world.routes.keys() - world.frozen_stacks)):
        now = world.routes.get(stack)
        wanted = routes_of(stack, asked.get(stack, ()), routable.allocs, routable.soaking, vips)
        if wanted is not None:
            own = world.stacks[stack].stack if stack in world.stacks else None
            before = now.routes.networks if now is not None else ()
            used = {joined.network for each in wanted.services for joined in each.networks}
            networks = _networks_of(own, used, known, before)
            wanted = msgspec.structs.replace(wanted, networks=networks) if networks else wanted
        if wanted != (now.routes if now is not None else None):
            yield Write(
                key=keys.routes(stack),
                record=wanted,
                decided_at=now.revision if now is not None else Revision(0),
            )


def _virtual_addresses(world: World, routable: Routable) -> Mapping[ServiceId, str]:
    if not routable.vips:
        return {}
    known = [
        ((stack, each.service), each.vip)
        for stack, state in world.routes.items()
        for each in state.routes.services
        if each.vip
    ]
    # What is not asked for any more keeps its address until nothing of it is left.
    had = {key for key, _ in known}
    wanted = [
        key
        for key, each in routable.services.items()
        if (
            wants_vip(each.spec)
            if each.spec is not None
            else key in had and routable.allocs.get(key)
        )
    ]
    stacks = world.frozen_stacks
    frozen = [key for key in had if key[0] in stacks]
    return virtual_addresses(routable.vips, (*wanted, *frozen), known)


def networks_made(world: World) -> Mapping[str, Network]:
    """Return every network that somebody makes."""
    found = {name: state.network for name, state in world.networks.items()}
    for state in world.stacks.values():
        for network in state.stack.networks:
            found.setdefault(network.name, network)
    return found


def _networks_of(
    stack: Stack | None,
    used: AbstractSet[str],
    known: Mapping[str, Network],
    before: Iterable[Network],
) -> tuple[Network, ...]:
    """Return the networks that a stack makes or uses; of one that nobody makes any more, the last.

    What still runs on a network that was internal must not come out while it is taken away.
    """
    own = {each.name: each for each in stack.networks} if stack is not None else {}
    last = {each.name: each for each in before if each.name in used}
    found = {**last, **{name: known[name] for name in used if name in known}, **own}
    return tuple(found[name] for name in sorted(found))
