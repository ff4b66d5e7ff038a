"""What must be so about networks and addresses, for every client.

Pure. Every refusal names both who asks and who has it.
"""

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from scheduler.api.route_checks import EDGE_PORTS
from scheduler.api.unread import unread_stacks
from scheduler.vips import wants_vip
from scheduler.world import World
from shared import codec, keys
from shared.api import StackUpload
from shared.limits import ALIASES_MAX, NETWORKS_MAX
from shared.model import (
    DOCUMENT_BYTES_MAX,
    AllocId,
    Endpoint,
    EndpointState,
    Joined,
    Network,
    NodeName,
    NodeSpec,
    ServiceRoutes,
    ServiceSpec,
    Stack,
    StackName,
)
from shared.subnets import Pools, hosts_of, network_of
from shared.words import listed

# A network's name is a key, and part of every routes document of its stack.
NETWORK_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
# Each is a name of a host, whose limit this is.
ALIAS_CHARACTERS_MAX: Final = 253
# The names of the routes' fields, and the networks themselves.
_SPARE_BYTES: Final = 32 * 1024
_WIDEST: Final = "255.255.255.255"
_MODES: Final = ("", "host", "none")


class Ground(msgspec.Struct, frozen=True, kw_only=True):
    """What a stack must fit in besides the other stacks.

    Attributes:
        pools: what addresses are cut from.
        nodes: every one.
        networks: those that no stack makes.
        unreadable: those of them whose record cannot be read: only who needs one is refused.
        edge: the ports on which gateways serve routes.
        unread: the stacks whose record cannot be read, with what gateways serve of them still.
    """

    pools: Pools = Pools()
    nodes: Mapping[NodeName, NodeSpec] = {}
    networks: Mapping[str, Network] = {}
    unreadable: frozenset[str] = frozenset()
    edge: Sequence[int] = EDGE_PORTS
    unread: Mapping[StackName, tuple[ServiceRoutes, ...]] = {}


def ground_of(world: World, pools: Pools = Pools(), edge: Sequence[int] = EDGE_PORTS) -> Ground:  # noqa: B008 - frozen
    """Return what a stack must fit in, in a world."""
    return Ground(
        pools=pools,
        nodes={name: node.spec for name, node in world.nodes.items()},
        networks={name: each.network for name, each in world.networks.items()},
        unreadable=frozenset(
            key.removeprefix(keys.NETWORKS)
            for key in world.unreadable
            if key.startswith(keys.NETWORKS)
        ),
        edge=edge,
        unread={
            name: world.routes[name].routes.services if name in world.routes else ()
            for name in unread_stacks(world)
        },
    )


def network_problems(
    name: StackName, upload: StackUpload, others: Mapping[StackName, Stack], ground: Ground
) -> Iterator[str]:
    """Yield everything that is wrong, one sentence each."""
    rest = {other: stack for other, stack in others.items() if other != name}
    made = list(makers(rest, ground.networks))
    if len(upload.networks) > NETWORKS_MAX:
        yield f"{len(upload.networks)} networks; {NETWORKS_MAX} are the most"
    seen: set[str] = set()
    for network in upload.networks[:NETWORKS_MAX]:
        if network.name in seen:
            yield f"network {network.name} is there twice"
        seen.add(network.name)
        beside = [*made, *((one, f"stack {name}") for one in upload.networks if one != network)]
        yield from definition_problems(network, f"stack {name}", beside, ground)
        if name not in others or network not in others[name].networks:
            yield from unread_problems(network, ground)
    yield from _gone(name, upload.networks, others, made)
    known = {one.name: one for one, _ in made} | {one.name: one for one in upload.networks}
    for spec in upload.services:
        yield from (f"service {spec.name}: {said}" for said in _joins(spec, known, ground))
    yield from _addresses(name, upload.services, rest)
    yield from _vips(name, upload.services, rest, ground.pools)
    yield from _size(name, upload.services, ground)


def makers(
    stacks: Mapping[StackName, Stack], networks: Mapping[str, Network]
) -> Iterator[tuple[Network, str]]:
    """Yield every network with who makes it, in words."""
    yield from ((network, "`hafen network create`") for network in networks.values())
    for name, stack in stacks.items():
        yield from ((network, f"stack {name}") for network in stack.networks)


# ---------------------------------------------------------------- one network


def definition_problems(
    network: Network, owner: str, others: Iterable[tuple[Network, str]], ground: Ground
) -> Iterator[str]:
    """Yield why a network cannot be.

    Args:
        network: as it is asked for.
        owner: who asks, in words.
        others: every other one with who makes it; the same may be made by several.
        ground: what it must lie beside.
    """
    if not NETWORK_NAME.fullmatch(network.name):
        yield (
            f"network {network.name[:80]!r}: use letters, digits, _, . and -, beginning with a "
            "letter or digit, at most 128 characters"
        )
        return
    others = list(others)
    for other, maker in others:
        if other.name == network.name and other != network and maker != owner:
            yield (
                f"network {network.name}: {owner} wants it {_settings(network)}, but {maker} makes "
                f"it {_settings(other)}"
            )
    if not network.subnet:
        return
    wanted = network_of(network.subnet)
    if wanted is None:
        yield (
            f"network {network.name}: subnet {network.subnet[:80]!r} is no IPv4 network such as "
            "172.20.0.0/24"
        )
        return
    for taken, whose in _taken(network, others, ground):
        if wanted.overlaps(taken):
            yield f"network {network.name}: subnet {wanted} overlaps {taken}, {whose}"


def unread_problems(network: Network, ground: Ground) -> Iterator[str]:
    """Yield why nobody can say whether a new network may be: what it must agree with is unread."""
    for name in sorted(ground.unreadable):
        if name == network.name:
            yield f"network {network.name}: {_unread(name)}"
        elif network.subnet:
            yield (
                f"network {network.name}: nobody knows whether subnet {network.subnet[:80]!r} "
                f"overlaps that of network {name}: {_unread(name)}"
            )


def _unread(name: str) -> str:
    return f"{keys.network(name)} cannot be read: mend it, or delete that key"


def _settings(network: Network) -> str:
    way = "internal" if network.internal else "with a way out"
    return f"{way} and {f'with subnet {network.subnet}' if network.subnet else 'without a subnet'}"


def _taken(
    network: Network, others: Iterable[tuple[Network, str]], ground: Ground
) -> Iterator[tuple[ipaddress.IPv4Network, str]]:
    """Yield every network that a subnet must not overlap, with whose it is."""
    pools = ground.pools
    named = [(pools.pool, "the pool of containers"), (pools.vips, "the virtual addresses")]
    named += [(node.subnet, f"the containers of {node.name}") for node in ground.nodes.values()]
    named += [(node.address, f"the address of {node.name}") for node in ground.nodes.values()]
    named += [
        (other.subnet, f"the subnet of network {other.name} of {maker}")
        for other, maker in others
        if other.name != network.name
    ]
    seen: set[ipaddress.IPv4Network] = set()
    for text, whose in named:
        found = network_of(text) if text else None
        # A node's subnet is part of the pool: that is said once.
        if found is None or any(found.subnet_of(one) for one in seen):
            continue
        seen.add(found)
        yield found, whose


def removal_problems(
    name: StackName, stacks: Mapping[StackName, Stack], ground: Ground
) -> Iterator[str]:
    """Yield why a stack cannot be removed: others are on networks that nobody else makes."""
    rest = {other: stack for other, stack in stacks.items() if other != name}
    yield from _gone(name, (), stacks, makers(rest, ground.networks))


def _gone(
    name: StackName,
    after: Iterable[Network],
    others: Mapping[StackName, Stack],
    made: Iterable[tuple[Network, str]],
) -> Iterator[str]:
    """Yield networks that a stack makes no longer, although others are on them."""
    before = others.get(name)
    if before is None:
        return
    kept = {one.name for one in after} | {one.name for one, _ in made}
    for network in before.networks:
        users = users_of(network.name, others, but=name) if network.name not in kept else ()
        if users:
            yield (
                f"network {network.name} is used by {', '.join(users)}: keep it, or "
                f"`hafen network create {network.name}` first"
            )


def users_of(
    network: str, stacks: Mapping[StackName, Stack], *, but: StackName | None = None
) -> tuple[str, ...]:
    """Return the services on a network as <stack>.<service>, without those of one stack."""
    return tuple(
        f"{name}.{spec.name}"
        for name, stack in sorted(stacks.items())
        if name != but
        for spec in stack.services
        if any(joined.network == network for joined in spec.workload.networks)
    )


# ---------------------------------------------------------------- services


def _joins(spec: ServiceSpec, known: Mapping[str, Network], ground: Ground) -> Iterator[str]:
    mode, networks = spec.workload.network_mode, spec.workload.networks
    if mode not in _MODES:
        yield f"network_mode is {mode[:80]!r}; host and none are possible"
    elif mode and networks:
        yield f"network_mode is {mode}: it cannot be on network {networks[0].network} as well"
    names = [joined.network for joined in networks]
    yield from (f"it is on network {one} twice" for one in sorted({*names}) if names.count(one) > 1)
    for joined in networks:
        network = known.get(joined.network)
        if network is None and joined.network in ground.unreadable:
            yield _unread(joined.network)
        elif network is None:
            yield (
                f"nobody makes network {joined.network[:80]!r}: write it under networks, or "
                f"`hafen network create {joined.network[:80]}`{_perhaps(ground)}"
            )
        elif joined.address and (why := _why_not(joined.address, network)):
            yield f"address {joined.address[:80]!r} on network {network.name}: {why}"
        yield from _aliases(joined)


def _perhaps(ground: Ground) -> str:
    """Return who may make a network after all."""
    names = listed(sorted(ground.unread))
    return f"; unless it is one of stack {names}, which cannot be read" if names else ""


def _aliases(joined: Joined) -> Iterator[str]:
    if len(joined.aliases) > ALIASES_MAX:
        yield f"{len(joined.aliases)} aliases on {joined.network}; {ALIASES_MAX} are the most"
    for alias in joined.aliases[:ALIASES_MAX]:
        if not 0 < len(alias) <= ALIAS_CHARACTERS_MAX or any(map(str.isspace, alias)):
            yield f"alias {alias[:80]!r} on network {joined.network} is no name"


def _why_not(text: str, network: Network) -> str:
    """Return why a network has no such address; empty: it has."""
    subnet = network_of(network.subnet)
    if subnet is None:
        return "the network has no subnet; write ipam: {config: [{subnet: ...}]}"
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        return "it is no IPv4 address"
    if address not in subnet:
        return f"it is not in the network's subnet {subnet}"
    if address in {subnet.network_address, subnet.broadcast_address}:
        return f"it is the first or the last of {subnet}, which nothing can have"
    return ""


def _addresses(
    name: StackName, services: Sequence[ServiceSpec], rest: Mapping[StackName, Stack]
) -> Iterator[str]:
    """Yield fixed addresses that two services want."""
    taken = {
        key: f"stack {other}, service {spec.name}"
        for other, stack in rest.items()
        for spec in stack.services
        for key in _fixed(spec)
    }
    for spec in services:
        for network, address in _fixed(spec):
            owner = taken.setdefault((network, address), f"service {spec.name} of stack {name}")
            if owner != f"service {spec.name} of stack {name}":
                yield (
                    f"service {spec.name}: address {address} on network {network} is taken by "
                    f"{owner}"
                )


def _fixed(spec: ServiceSpec) -> list[tuple[str, str]]:
    joins = spec.workload.networks
    return [(joined.network, joined.address) for joined in joins if joined.address]


# ---------------------------------------------------------------- what there is enough of


def _vips(
    name: StackName,
    services: Sequence[ServiceSpec],
    rest: Mapping[StackName, Stack],
    pools: Pools,
) -> Iterator[str]:
    """Yield that there are too few virtual addresses."""
    wanted = sum(map(wants_vip, services))
    if not pools.vips or not wanted:
        return
    used = sum(wants_vip(spec) for stack in rest.values() for spec in stack.services)
    total = hosts_of(pools.vips)
    if used + wanted > total:
        yield (
            f"virtual addresses: stack {name} needs {wanted}, {max(total - used, 0)} of the "
            f"{total} of {pools.vips} are free: endpoint_mode: dnsrr needs none"
        )


def _size(name: StackName, services: Sequence[ServiceSpec], ground: Ground) -> Iterator[str]:
    """Yield that a stack's routes, in the middle of an update, would not fit a document."""
    size = routes_bytes(name, services, ground)
    if size > DOCUMENT_BYTES_MAX:
        yield (
            f"its routes may take {size} bytes while it is updated; {DOCUMENT_BYTES_MAX} are the "
            "most: ask for fewer replicas, or make two stacks of it"
        )


def routes_bytes(name: StackName, services: Sequence[ServiceSpec], ground: Ground) -> int:
    """Return how large a stack's routes may become, at most: with every copy there twice."""
    return _SPARE_BYTES + len(name) + sum(_service_bytes(name, spec, ground) for spec in services)


def _service_bytes(name: StackName, spec: ServiceSpec, ground: Ground) -> int:
    workload = spec.workload
    if not (workload.ports or workload.networks):
        return 0
    service = ServiceRoutes(
        service=spec.name,
        ports=workload.ports,
        replicas=spec.replicas,
        networks=workload.networks,
        vip=_WIDEST,
        affinity=spec.affinity,
    )
    longest = max(ground.nodes, key=len, default=NodeName(""))
    new = Endpoint(
        allocation=AllocId(f"{name}.{spec.name}.9999.{'z' * 13}"),
        node=longest,
        address=_WIDEST,
        state=EndpointState.DRAINING,
        slot=9999,
    )
    old = msgspec.structs.replace(
        new,
        targets={port.published: 65535 for port in workload.ports},
        networks=tuple(joined.network for joined in workload.networks),
        addresses=tuple(joined.address for joined in workload.networks if joined.address),
    )
    copies = len(ground.nodes) if spec.mode.is_global else spec.replicas
    each = len(codec.encode(new)) + len(codec.encode(old)) + 2
    return len(codec.encode(service)) + (copies + spec.standby) * each
