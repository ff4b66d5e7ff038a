"""All services' networks together: who is on which, what each is called there, what cannot be.

Pure. A link and a container's name are aliases on a cluster: all on the network may use them.
"""

import ipaddress
from collections.abc import Iterable, Iterator
from collections.abc import Mapping as Lookup

import msgspec

from deploy.compose.deploys import refuse_start_first
from deploy.compose.fields import Cursor
from deploy.compose.networks import DEFAULT, Attached, Declared
from deploy.compose.order import Wanted
from deploy.compose.service import Service
from deploy.compose.tree import OWN_KEY, quoted
from shared.model import Affinity, Joined, Network

Found = Lookup[str, tuple[Cursor, Service]]


class _Alias(msgspec.Struct, frozen=True):
    """A further name, and where it is written."""

    at: Cursor
    name: str


class _Part(msgspec.Struct, frozen=True):
    """A service's part in a network, by the network's name in the cluster."""

    network: str
    aliases: tuple[_Alias, ...] = ()
    address: str = ""


# ---------------------------------------------------------------- one service


def settled(at: Cursor, found: Service) -> Service:
    """Return a service whose `network_mode` has been held against what else it says.

    In its node's own network it is reached at the node's ports: there is nothing to publish.
    """
    written = {child.key for child in at.entries()}
    if found.networks and "network_mode" in written:
        at.below("network_mode").refuse("`networks` says where the service is; keep one of them")
    if not found.network_mode:
        return found
    _warn_of_no_name(at, found)
    if found.network_mode == "host":
        return _of_the_node(at, found)
    if found.ports:
        at.below("ports").refuse(
            "with network_mode: none nothing reaches the container, so nothing can be published; "
            "leave one of them out"
        )
    return found


def _warn_of_no_name(at: Cursor, found: Service) -> None:
    for is_given, path in (
        (found.deploy.endpoint_mode is not None, ("deploy", "endpoint_mode")),
        (bool(found.container_name), ("container_name",)),
        (found.own.affinity is not Affinity.NONE, (OWN_KEY, "affinity")),
    ):
        if is_given:
            at.below(*path).warn(
                f"with network_mode: {found.network_mode} the service is on no network, and has "
                "no name there that could lead to it"
            )


def _of_the_node(at: Cursor, found: Service) -> Service:
    for name in found.tuning.sysctls:
        if name.startswith("net."):
            at.below("sysctls", name).refuse(
                f"with network_mode: host {name} is the node's own; set it there"
            )
    if found.ports:
        at.below("ports").warn(
            "with network_mode: host the container's ports are the node's own: none is published"
        )
    return msgspec.structs.replace(found, ports=())


def copies(found: Service) -> int | None:
    """Return how many replicas a service has; None: the nodes say."""
    if found.deploy.mode is not None and found.deploy.mode.is_global:
        return None
    given = (found.deploy.replicas, found.older.replicas, 1)
    return next(number for number in given if number is not None)


# ---------------------------------------------------------------- all of them


def joined(found: Found, known: Lookup[str, Declared]) -> dict[str, tuple[Joined, ...]]:
    """Return every service's networks; what cannot be is written down.

    Args:
        found: the active services.
        known: the networks that they may name, the default one included.
    """
    parts = {name: _own(one, known) for name, (_, one) in found.items()}
    for name, (at, one) in found.items():
        for link in one.links:
            if link.service in parts and link.service != name:
                parts[link.service] = _linked(link, parts[name], parts[link.service])
        if one.container_name and one.container_name != name and not one.network_mode:
            parts[name] = _called(at, one, parts[name])
    _warn_of_clashes(parts)
    _check_addresses(found, known)
    return {
        # Their order means nothing: another one is no change.
        name: tuple(_joined(name, each[network]) for network in sorted(each))
        for name, each in parts.items()
    }


def made(all_: Iterable[tuple[Joined, ...]], known: Lookup[str, Declared]) -> tuple[Network, ...]:
    """Return the networks that the file makes, those that no service is on left out."""
    used = {one.network for each in all_ for one in each}
    found = {one.made.name: one.made for one in known.values() if one.made is not None}
    return tuple(found[name] for name in sorted(found) if name in used)


def _own(found: Service, known: Lookup[str, Declared]) -> dict[str, _Part]:
    if found.network_mode:
        return {}
    if not found.networks:
        name = known[DEFAULT].name
        return {name: _Part(name)}
    parts: dict[str, _Part] = {}
    for one in found.networks:
        name = known[one.key].name
        before = parts.get(name, _Part(name))
        aliases = tuple(_Alias(one.at.below("aliases"), alias) for alias in one.aliases)
        parts[name] = _Part(name, (*before.aliases, *aliases), before.address or one.address)
    return parts


def _linked(link: Wanted, own: Lookup[str, _Part], other: Lookup[str, _Part]) -> dict[str, _Part]:
    """Return the other service's networks, with what a link calls it on those that both are on."""
    if not own.keys() & other.keys():
        link.at.refuse(f"there is no network that {quoted(link.service)} is on as well")
    if not link.alias:
        return dict(other)
    return {
        name: _also_called(part, _Alias(link.at, link.alias)) if name in own else part
        for name, part in other.items()
    }


def _called(at: Cursor, found: Service, parts: Lookup[str, _Part]) -> dict[str, _Part]:
    """Return a service's networks with its container's name as an alias, if there is one only."""
    place, number = at.below("container_name"), copies(found)
    if number is None or number > 1:
        many = "a container on every node" if number is None else f"{number} containers"
        place.warn(f"there are {many} of the service, so none is called so; others use its name")
        return dict(parts)
    alias = _Alias(place, found.container_name)
    return {name: _also_called(part, alias) for name, part in parts.items()}


def _also_called(part: _Part, alias: _Alias) -> _Part:
    return msgspec.structs.replace(part, aliases=(*part.aliases, alias))


def _joined(service: str, part: _Part) -> Joined:
    aliases = dict.fromkeys(one.name for one in part.aliases if one.name != service)
    return Joined(network=part.network, aliases=tuple(aliases), address=part.address)


def _warn_of_clashes(parts: Lookup[str, Lookup[str, _Part]]) -> None:
    """Say which aliases are names of other services on the same network."""
    for service, each in parts.items():
        for network, part in each.items():
            for alias in part.aliases:
                if alias.name != service and network in parts.get(alias.name, {}):
                    alias.at.warn(
                        f"{quoted(alias.name)} is a service on network {network}, too: the name "
                        f"leads to replicas of both, {alias.name} and {service}"
                    )


# ---------------------------------------------------------------- fixed addresses


def _check_addresses(found: Found, known: Lookup[str, Declared]) -> None:
    taken: dict[tuple[str, str], Cursor] = {}
    for at, one in found.values():
        for part in one.networks:
            if not part.address:
                continue
            place = part.at.below("ipv4_address")
            why = next(_not_possible(one, part, known[part.key].made), "")
            before = taken.setdefault((known[part.key].name, part.address), place)
            if why:
                place.refuse(why)
            elif before is not place:
                where = f"{before.mark.file}:{before.mark.line}"
                place.refuse(f"{part.address} is the address of another service in {where}")
            refuse_start_first(
                at,
                one.deploy,
                f"the old and the new copy would both have {part.address}; write stop-first",
            )


def _not_possible(found: Service, part: Attached, network: Network | None) -> Iterator[str]:
    """Yield why a service cannot have a fixed address.

    What a network that is made elsewhere has is known to the cluster only.
    """
    if network is not None and not network.subnet:
        yield (
            f"network {quoted(part.key)} has no subnet to take it from; write "
            "ipam: {config: [{subnet: ...}]} there, or leave it out"
        )
    elif network is not None:
        subnet, address = ipaddress.IPv4Network(network.subnet), ipaddress.IPv4Address(part.address)
        if address not in subnet:
            yield f"{address} is not of the network's subnet, {subnet}"
        elif address in {subnet.network_address, subnet.broadcast_address}:
            yield f"{address} is an end of {subnet}, which no container can have"
    number = copies(found)
    if number is None or number > 1:
        many = "runs on every node" if number is None else f"has {number} replicas"
        yield f"only one container can have an address, and the service {many}; leave it out"
