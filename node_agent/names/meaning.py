"""From a name, and who asks for it, to what it means.

Pure. A name without a dot, and one below our zone, means something here or nothing at all; every
other one that means nothing here is somebody else's.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from node_agent.names.table import ZONE, Asker, Service, Table
from shared.model import Endpoint, EndpointState

# A replica may be gone the moment after: whoever asks again must be told so.
ENDPOINT_TTL_S: Final = 0
# A virtual address is a service's for as long as the service lives, whatever its replicas do; this
# is how long a client may believe in the address of one that was removed and made anew.
VIP_TTL_S: Final = 10
# `tasks.web` and `2.web` can be there a moment later: the first replica has just come up.
NEGATIVE_TTL_S: Final = 1

_V4: Final = ("in-addr", "arpa")
_V6: Final = ("ip6", "arpa")
_READY: Final = (EndpointState.READY,)
# Members of a cluster must find each other by name before any of them is ready.
_THERE: Final = (EndpointState.READY, EndpointState.PRESENT)


class Addresses(msgspec.Struct, frozen=True):
    """The name means these, of both families; `rotates`: any order will do, a fair one is best."""

    found: tuple[str, ...]
    ttl_s: int
    rotates: bool = False


class Pointer(msgspec.Struct, frozen=True):
    """The address is that of `name`."""

    name: str


class Nothing(msgspec.Struct, frozen=True):
    """The name means nothing here; `exists`: it has no addresses now, or never has any."""

    exists: bool


class Elsewhere(msgspec.Struct, frozen=True):
    """The name is somebody else's."""


Meaning = Addresses | Pointer | Nothing | Elsewhere


def meaning_of(table: Table, asker: Asker, labels: Sequence[str]) -> Meaning:
    """Return what a name means to who asks; total.

    Args:
        table: what there is.
        asker: who asks.
        labels: of the name in lower case, without the root's.
    """
    if tuple(labels[-2:]) == ZONE:
        inner = labels[:-2]
        return _local(table, asker, inner) or Nothing(exists=not inner)
    if tuple(labels[-2:]) in {_V4, _V6}:
        return _reverse(table, asker, labels)
    found = _local(table, asker, labels)
    if found is not None:
        return found
    return Nothing(exists=False) if len(labels) == 1 else Elsewhere()


def _local(table: Table, asker: Asker, labels: Sequence[str]) -> Meaning | None:
    if len(labels) > 1:
        found = _some(table, asker, labels) or _allocation(table, asker, labels)
        if found is not None:
            return found
    services = _services(table, asker, labels)
    return _together(table, asker, services) if services else None


def _services(table: Table, asker: Asker, labels: Sequence[str]) -> Sequence[Service]:
    """Return those that a name means: one by its own name, or all that have it as an alias."""
    own = _service(table, asker, (*labels, asker.stack) if len(labels) == 1 else labels)
    if own is not None:
        return (own,)
    known = table.aliases.get(".".join(labels), ())
    aliased = {id(each): each for network, each in known if asker.sees((network,))}
    if aliased:
        return tuple(aliased.values())
    # Of several stacks' services one: two databases of one name are not each other's replicas.
    others = table.named.get(labels[0], ()) if len(labels) == 1 else ()
    seen = (each for each in others if asker.sees(each.networks))
    return tuple(seen)[:1]


def _service(table: Table, asker: Asker, labels: Sequence[str]) -> Service | None:
    """Return the service that `web.stack` means."""
    if len(labels) != 2:  # noqa: PLR2004 - a service and a stack
        return None
    found = table.of_stack.get((labels[1], labels[0]))
    return found if found is not None and asker.sees(found.networks) else None


def _some(table: Table, asker: Asker, labels: Sequence[str]) -> Meaning | None:
    """Return what `tasks.web` and `2.web` mean, also with a stack; None: they are neither."""
    first, rest = labels[0], labels[1:]
    is_slot = first.isdecimal() and first.isascii() and not first.startswith("0")
    if first != "tasks" and not is_slot:
        return None
    services = _services(table, asker, rest)
    if not services:
        return None
    if first == "tasks":
        return _addresses(table, _seen(asker, services, _READY))
    found = [each for each in _seen(asker, services, _THERE) if str(each.slot) == first]
    ready = [each for each in found if each.state is EndpointState.READY]
    will_be = any(int(first) <= each.routes.replicas for each in services)
    if not found and not will_be:
        return Nothing(exists=False)
    return _addresses(table, ready or found)


def _allocation(table: Table, asker: Asker, labels: Sequence[str]) -> Meaning | None:
    """Return what a container's own name means: stack, service, slot, suffix."""
    service = _service(table, asker, (labels[1], labels[0])) if len(labels) == 4 else None  # noqa: PLR2004 - as listed
    if service is None:
        return None
    wanted = ".".join(labels)
    there = _seen(asker, (service,), _THERE)
    found = [each for each in there if each.allocation.lower() == wanted]
    is_known = any(each.allocation.lower() == wanted for each in service.routes.endpoints)
    return _addresses(table, found) if is_known else Nothing(exists=False)


def _together(table: Table, asker: Asker, services: Sequence[Service]) -> Meaning:
    """Return where services of one name lead: their virtual addresses, else their replicas."""
    vips = [each.routes.vip for each in services if each.routes.vip]
    virtual = tuple(address for vip in vips for address in table.vip_with_six(vip))
    if len(vips) == len(services):
        return Addresses(virtual, VIP_TTL_S, rotates=len(vips) > 1)
    rest = tuple(each for each in services if not each.routes.vip)
    found = _own_addresses(table, _seen(asker, rest, _READY))
    both = (*virtual, *found)
    return Addresses(both, ENDPOINT_TTL_S, rotates=True) if both else Nothing(exists=True)


def _seen(
    asker: Asker, services: Iterable[Service], states: Sequence[EndpointState]
) -> list[Endpoint]:
    return [
        endpoint
        for service in services
        for endpoint in service.routes.endpoints
        if endpoint.state in states and asker.sees(service.networks_of(endpoint))
    ]


def _addresses(table: Table, endpoints: Iterable[Endpoint]) -> Meaning:
    found = _own_addresses(table, endpoints)
    return Addresses(found, ENDPOINT_TTL_S, rotates=True) if found else Nothing(exists=True)


def _own_addresses(table: Table, endpoints: Iterable[Endpoint]) -> tuple[str, ...]:
    """Return one address of each family of each replica: two of one would count it twice."""
    found: list[str] = []
    for each in endpoints:
        own = (each.address, *each.addresses, table.six_of(each.address))
        every = [address for address in own if address]
        for is_v6 in (False, True):
            found += [address for address in every if (":" in address) == is_v6][:1]
    return tuple(dict.fromkeys(found))


def _reverse(table: Table, asker: Asker, labels: Sequence[str]) -> Meaning:
    address = _reversed_address(labels)
    if address is None:
        return Elsewhere()
    service = table.virtual.get(address) or table.virtual.get(table.four_of(address))
    if service is not None and asker.sees(service.networks):
        return Pointer(_full(service.name, service.stack))
    known = address if address in table.replicas else table.four_of(address)
    if known in table.replicas:
        service, endpoint = table.replicas[known]
        if asker.sees(service.networks_of(endpoint)):
            return Pointer(_full(endpoint.allocation))
    return Nothing(exists=False) if table.is_private(address) else Elsewhere()


def _full(*parts: str) -> str:
    return ".".join((*parts, *ZONE)) + "."


def _reversed_address(labels: Sequence[str]) -> str | None:
    """Return the address that a name below in-addr.arpa or ip6.arpa is about."""
    inner = labels[-3::-1]
    text = ".".join(inner)
    if labels[-2] == "ip6":
        text = ":".join("".join(inner[at : at + 4]) for at in range(0, len(inner), 4))
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
