"""Networks as people see them, which may be made, and which may go.

Pure.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from scheduler.addresses import taken
from scheduler.api.network_checks import (
    Ground,
    definition_problems,
    makers,
    unread_problems,
    users_of,
)
from scheduler.world import World
from shared import keys
from shared.api import NetworkList, NetworkView, PoolView
from shared.errors import NotFoundError, SpecError
from shared.model import Network, Stack, StackName
from shared.subnets import Pools, capacity_of, hosts_of, taken_of
from shared.words import listed

_SHOWN_MAX: Final = 20


def networks(world: World, pools: Pools) -> NetworkList:
    """Return every network that somebody makes or is on, and how many addresses are left."""
    made: dict[str, list[tuple[Network, str]]] = {}
    for network, maker in _makers(world):
        made.setdefault(network.name, []).append((network, maker))
    on = _containers(world)
    views = [_view(world, name, made.get(name, []), on[name]) for name in {*made, *on}]
    return NetworkList(
        networks=tuple(sorted(views, key=lambda one: one.name)), pools=_pools(world, pools)
    )


def _stacks(world: World) -> Mapping[StackName, Stack]:
    return {name: state.stack for name, state in world.stacks.items()}


def _makers(world: World) -> list[tuple[Network, str]]:
    own = {name: state.network for name, state in world.networks.items()}
    return list(makers(_stacks(world), own))


def _containers(world: World) -> Counter[str]:
    return Counter(
        joined.network
        for node in world.nodes.values()
        for one in node.assignments
        for joined in one.workload.networks
    )


def _view(world: World, name: str, made: list[tuple[Network, str]], containers: int) -> NetworkView:
    network = made[0][0] if made else Network(name=name)
    fixed = {
        joined.address
        for state in world.stacks.values()
        for spec in state.stack.services
        for joined in spec.workload.networks
        if joined.network == name and joined.address
    }
    return NetworkView(
        name=name,
        internal=network.internal,
        subnet=network.subnet,
        made_by=tuple(maker for _, maker in made),
        used_by=users_of(name, _stacks(world)),
        containers=containers,
        addresses=len(fixed),
        capacity=hosts_of(network.subnet),
    )


def _pools(world: World, pools: Pools) -> tuple[PoolView, ...]:
    found = [
        PoolView(
            node=name,
            subnet=node.spec.subnet,
            capacity=capacity_of(node.spec.subnet),
            used=taken_of(node.spec.subnet, taken(node, node.assignments)),
        )
        for name, node in sorted(world.nodes.items())
    ]
    if pools.vips:
        routes = (state.routes for state in world.routes.values())
        used = {each.vip for one in routes for each in one.services if each.vip}
        capacity = hosts_of(pools.vips)
        found.append(PoolView(subnet=pools.vips, capacity=capacity, used=len(used)))
    return tuple(found)


# ---------------------------------------------------------------- making, removing


def check_new(world: World, ground: Ground, network: Network) -> None:
    """Refuse a network that cannot be.

    Raises:
        SpecError: one line for each thing that is wrong.
    """
    maker = "`hafen network create`"
    found = list(definition_problems(network, maker, _makers(world), ground))
    before = world.networks.get(network.name)
    if before is None:
        found += unread_problems(network, ground)
    elif before.network != network:
        found.append(
            f"network {network.name} is there with other settings: remove it first, or take "
            "another name"
        )
    if found:
        raise SpecError("\n".join(found[:_SHOWN_MAX]))


def check_old(world: World, name: str) -> None:
    """Refuse to remove a network that is not there, or that somebody needs.

    Raises:
        NotFoundError: nobody made it by a command; says who else did, or which there are.
        SpecError: it is in use; says by what.
    """
    others = [maker for network, maker in _makers(world) if network.name == name]
    if name not in world.networks:
        raise NotFoundError(_no_network(world, name, others))
    if len(others) > 1:
        return  # A stack makes the very same: for those on it nothing changes.
    users = users_of(name, _stacks(world))
    left = _containers(world)[name]
    if users:
        shown = listed(users, _SHOWN_MAX)
        raise SpecError(f"network {name} is used by {shown}: take them off it first")
    if left:
        raise SpecError(f"network {name} still has {left} containers, which go: try again then")


def _no_network(world: World, name: str, others: list[str]) -> str:
    if keys.network(name) in world.unreadable:
        return f"{keys.network(name)} cannot be read: mend it, or delete that key"
    if others:
        return f"network {name} is made by {', '.join(others)}: it comes and goes with it"
    known = sorted(world.networks)
    if not known:
        return f"there is no network {name[:80]!r}; none was made by a command"
    return f"there is no network {name[:80]!r}; there are: {listed(known, _SHOWN_MAX)}"
