"""Which slot of a service's table leads to which replica, and the changes that get there.

Pure, total and deterministic. A slot is one `server` line of HAProxy, the same number for every
port of a service. While replicas are asked for there is always a slot that is ready: one without a
living replica behind it holds requests, since every attempt to connect waits and is then tried
again.
"""

import enum
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from shared.model import AllocId, Endpoint, EndpointState, Record, ServiceRoutes

# Where a slot leads that has no replica yet; the node's nftables table answers it with silence.
NOWHERE: Final = "127.0.0.254"
_SPARE: Final = 4
_STEP: Final = 8


class SlotState(enum.StrEnum):
    """What HAProxy does with a slot, in its own words."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


class Slot(Record, frozen=True, kw_only=True):
    """One slot.

    Attributes:
        allocation: empty while it has none.
        targets, route_targets: as in Endpoint.
    """

    number: int
    state: SlotState = SlotState.MAINT
    address: str = NOWHERE
    allocation: AllocId = AllocId("")
    targets: Mapping[int, int] = {}
    route_targets: Mapping[int, int] = {}


class Table(Record, frozen=True, kw_only=True):
    """A service's slots, numbered from 1."""

    slots: tuple[Slot, ...] = ()


class Steps(msgspec.Struct, frozen=True, kw_only=True):
    """How to get from one table to the next, in this order.

    Attributes:
        lead: slots that get an address (and, with it, their state), before any other loses its own.
        set_state: slots whose state alone changes.
    """

    lead: tuple[Slot, ...] = ()
    set_state: tuple[Slot, ...] = ()


def size_for(routes: ServiceRoutes, table: Table) -> int:
    """Return how many slots the service's table should have; it never shrinks while it lives.

    Twice the replicas and some more: an update start-first needs both generations at once.
    """
    wanted = 2 * max(routes.replicas, len(routes.served)) + _SPARE
    return max(-(-wanted // _STEP) * _STEP, len(table.slots))


def next_table(table: Table, routes: ServiceRoutes) -> Table:
    """Return the table that serves `routes`, changed as little as possible.

    Every ready endpoint ends in exactly one ready slot; what is gone is put to maintenance. When
    nothing is ready but replicas are asked for, one slot is ready and leads nowhere: it holds
    requests.
    """
    slots = {slot.number: slot for slot in table.slots}
    for number in range(1, size_for(routes, table) + 1):
        slots.setdefault(number, Slot(number=number))
    listed = {endpoint.allocation: endpoint for endpoint in routes.served}
    for number, slot in slots.items():
        endpoint = listed.get(slot.allocation)
        if endpoint is not None:
            slots[number] = _leading_to(slot, endpoint)
    here = {slot.allocation for slot in slots.values()}
    for endpoint in routes.served:
        if endpoint.state is EndpointState.READY and endpoint.allocation not in here:
            free = _free(slots.values(), listed)
            slots[free.number] = _leading_to(free, endpoint)
    for number in _gone(slots.values(), listed):
        slots[number] = Slot(number=number, address=slots[number].address)
    has_ready = any(endpoint.state is EndpointState.READY for endpoint in routes.served)
    if not has_ready and routes.replicas > 0:
        number = _holder(slots.values(), table)
        slots[number] = Slot(number=number, state=SlotState.READY)
    return Table(slots=tuple(slots[number] for number in sorted(slots)))


def _leading_to(slot: Slot, endpoint: Endpoint) -> Slot:
    ready = endpoint.state is EndpointState.READY
    return Slot(
        number=slot.number,
        state=SlotState.READY if ready else SlotState.DRAIN,
        address=endpoint.address,
        allocation=endpoint.allocation,
        targets=endpoint.targets,
        route_targets=endpoint.route_targets,
    )


def _free(slots: Iterable[Slot], listed: Mapping[AllocId, Endpoint]) -> Slot:
    """Return the slot for a new replica.

    One that holds requests first, for it frees them at once.
    """
    candidates = [slot for slot in slots if slot.allocation not in listed]
    return min(candidates, key=lambda slot: (slot.state is not SlotState.READY, slot.number))


def _gone(slots: Iterable[Slot], listed: Mapping[AllocId, Endpoint]) -> list[int]:
    return [
        slot.number
        for slot in slots
        if slot.allocation not in listed and slot.state is not SlotState.MAINT
    ]


def _holder(slots: Iterable[Slot], before: Table) -> int:
    """Return the slot that holds requests: the one that did, so that nothing changes meanwhile."""
    was_ready = {slot.number for slot in before.slots if slot.state is SlotState.READY}
    idle = [slot.number for slot in slots if slot.state is SlotState.MAINT]
    return min(idle, key=lambda number: (number not in was_ready, number))


def steps(before: Table, after: Table) -> Steps:
    """Return how to get from `before` to `after`, for tables of the same size."""
    lead: list[Slot] = []
    set_state: list[Slot] = []
    for old, new in zip(before.slots, after.slots, strict=True):
        if _led(old) != _led(new):
            lead.append(new)
        elif old.state is not new.state:
            set_state.append(new)
    set_state.sort(key=lambda slot: (slot.state is not SlotState.READY, slot.number))
    return Steps(lead=tuple(lead), set_state=tuple(set_state))


def _led(slot: Slot) -> tuple[object, ...]:
    return slot.address, slot.targets, slot.route_targets


def is_holding(table: Table) -> bool:
    """Say whether requests wait for a replica: a slot is ready, and none of them leads anywhere."""
    ready = [slot for slot in table.slots if slot.state is SlotState.READY]
    return bool(ready) and not any(slot.allocation for slot in ready)


def gone_addresses(before: Table, after: Table) -> tuple[str, ...]:
    """Return the addresses that had a replica before and have none any more."""
    return tuple(sorted(_addresses(before) - _addresses(after)))


def _addresses(table: Table) -> set[str]:
    return {slot.address for slot in table.slots if slot.allocation}
