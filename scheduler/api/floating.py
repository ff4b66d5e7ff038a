"""Floating addresses as people see them, and which may be asked for.

Pure.
"""

import ipaddress
from collections.abc import Iterable
from typing import Final

from scheduler.nodes import Verdict, Verdicts
from scheduler.world import NodeState, World
from shared import api, keys
from shared.errors import NotFoundError, SpecError
from shared.labels import meets
from shared.model import Availability, FloatingAddress, NodeName
from shared.subnets import Pools

_SHOWN_MAX: Final = 10
_NOBODY: Final = NodeName("")
# Each has its holder's keep-alives on it, and a line in every answer.
ADDRESSES_MAX: Final = 256

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def floating(world: World, verdicts: Verdicts) -> api.FloatingList:
    """Return every floating address."""
    return api.FloatingList(addresses=tuple(view_of(world, verdicts, a) for a in world.floating))


def view_of(world: World, verdicts: Verdicts, address: str) -> api.FloatingView:
    """Return one floating address.

    Raises:
        NotFoundError: there is no such one; says which there are.
    """
    record = _known(world, address)
    address = record.address
    state = world.vips.get(address)
    holder = state.claim.node if state is not None else _NOBODY
    eligible = _eligible(world, verdicts, record)
    return api.FloatingView(
        address=address,
        prefix_length=record.prefix_length,
        constraints=record.constraints,
        holder=holder,
        since_s=state.claim.since_s if state is not None and holder else 0.0,
        eligible=eligible,
        problem=_problem(world, verdicts, record, holder, eligible),
    )


def _known(world: World, written: str) -> FloatingAddress:
    """Return what is recorded of an address, however it is written."""
    try:
        address = str(ipaddress.ip_address(written))
    except ValueError:
        address = written
    state = world.floating.get(address)
    if state is not None:
        return state.record
    key = keys.floating(address)
    if key in world.unreadable:
        raise NotFoundError(f"{key} cannot be read: mend it, or delete that key")
    known = ", ".join(sorted(world.floating)[:_SHOWN_MAX]) or "none"
    raise NotFoundError(f"there is no floating address {address}; there are: {known}")


def _eligible(world: World, verdicts: Verdicts, record: FloatingAddress) -> tuple[NodeName, ...]:
    allowed = tuple(
        name
        for name, node in world.nodes.items()
        if meets(node.spec, record.constraints)
        and verdicts.get(name, Verdict.SUSPECT).is_sound
        and node.spec.availability is Availability.ACTIVE
    )
    # Where no gateway serves, each is as good as the others.
    return tuple(name for name in allowed if not world.nodes[name].trouble) or allowed


def _problem(
    world: World,
    verdicts: Verdicts,
    record: FloatingAddress,
    holder: NodeName,
    eligible: tuple[NodeName, ...],
) -> str:
    if holder:
        verdict = verdicts.get(holder, Verdict.SUSPECT)
        told = [*_told(world, record.address, (holder,)), *_unserved(world, holder)]
        return "; ".join(told) if verdict.is_sound else f"{holder} is {verdict}"
    told = _told(world, record.address, eligible)
    if told:
        return f"nobody answers it: {'; '.join(told)}"
    if not eligible:
        asked = " and ".join(_written(record)) or "sound and not cordoned"
        return f"nobody answers it: no node is {asked}"
    return "nobody answers it yet"


def _unserved(world: World, node: NodeName) -> list[str]:
    trouble = world.nodes[node].trouble if node in world.nodes else ""
    return [f"{node}'s gateway does not serve: {trouble}"] if trouble else []


def _told(world: World, address: str, nodes: Iterable[NodeName]) -> list[str]:
    found = []
    for name in nodes:
        report = world.nodes[name].report if name in world.nodes else None
        if report is not None and address in report.floating:
            found.append(f"{name}: {report.floating[address]}")
    return found[:_SHOWN_MAX]


def _written(record: FloatingAddress) -> list[str]:
    signs = {True: "=", False: "!="}
    return [
        f"{one.key.removeprefix('node.labels.')}{signs[one.equal]}{one.value}"
        for one in record.constraints
    ]


# ------------------------------------------------------------ what may be asked for


def added(world: World, pools: Pools, address: str, asked: api.FloatingAsked) -> FloatingAddress:
    """Return the record of a floating address that is asked for.

    Args:
        world: now.
        pools: what containers' and services' addresses are cut from.
        address: as it was written.
        asked: what else.

    Raises:
        SpecError: it cannot be one; says why, with what is in the way.
    """
    ip = _address(address)
    before = world.floating.get(str(ip))
    record = FloatingAddress(
        address=str(ip),
        prefix_length=_prefix(ip, asked.prefix_length),
        constraints=asked.constraints,
    )
    if before is not None:
        return _same(before.record, record)
    for key in (keys.floating(record.address), keys.vip(record.address)):
        if key in world.unreadable:
            raise SpecError(f"{key} cannot be read: mend it, or delete that key")
    if len(world.floating) >= ADDRESSES_MAX:
        raise SpecError(f"{len(world.floating)} floating addresses are there: no more are kept")
    _refuse_taken(world, pools, ip)
    willing = [node for node in world.nodes.values() if meets(node.spec, record.constraints)]
    if not willing:
        raise SpecError(
            f"no node may have {ip}: none of {len(world.nodes)} is"
            f" {' and '.join(_written(record))}; `hafen node ls` shows them"
        )
    if not record.prefix_length:
        _refuse_stranded(ip, willing)
    return record


def _address(text: str) -> IPAddress:
    try:
        ip = ipaddress.ip_address(text)
    except ValueError as error:
        raise SpecError(f"{text!r} is no IP address; write one such as 10.0.0.50") from error
    if ip.is_multicast or ip.is_loopback or ip.is_unspecified or ip.is_link_local:
        raise SpecError(f"{ip} cannot be one host's on a segment: it is of a kind of its own")
    return ip


def _prefix(ip: IPAddress, length: int) -> int:
    if not length:
        return 0
    if not 1 < length < ip.max_prefixlen:
        raise SpecError(f"{ip}/{length}: a prefix of 2 to {ip.max_prefixlen - 1} brings a network")
    _refuse_ends(ip, ipaddress.ip_network(f"{ip}/{length}", strict=False))
    return length


def _refuse_ends(ip: IPAddress, net: ipaddress.IPv4Network | ipaddress.IPv6Network) -> None:
    if net.num_addresses > 2 and ip in {net.network_address, net.broadcast_address}:  # noqa: PLR2004
        raise SpecError(f"{ip} is the first or the last of {net}: no host can have it")


def _same(before: FloatingAddress, record: FloatingAddress) -> FloatingAddress:
    said = (record.prefix_length, record.constraints)
    if said != (before.prefix_length, before.constraints):
        raise SpecError(
            f"{record.address} is a floating address already, with another prefix or other nodes;"
            f" `hafen vip rm {record.address}` first"
        )
    return before


def _refuse_taken(world: World, pools: Pools, ip: IPAddress) -> None:
    owner = next((name for name, node in world.nodes.items() if node.spec.address == str(ip)), None)
    if owner is not None:
        raise SpecError(f"{ip} is {owner}'s own address: choose one that no host has")
    for network, whose in ((pools.pool, "containers'"), (pools.vips, "services'")):
        if network and ip in ipaddress.ip_network(network):
            raise SpecError(f"{ip} is in {network}, the {whose} network: choose one outside")


def _refuse_stranded(ip: IPAddress, willing: list[NodeState]) -> None:
    """Refuse an address that no known network of an eligible node contains."""
    known = {
        node.spec.name: node.report.segments
        for node in willing
        if node.report is not None and node.report.segments
    }
    nets = {ipaddress.ip_network(net) for segments in known.values() for net in segments}
    around = [net for net in nets if ip in net]
    for net in around:
        _refuse_ends(ip, net)
    if known and not around:
        shown = "; ".join(
            f"{name} has {', '.join(segments)}"
            for name, segments in sorted(known.items())[:_SHOWN_MAX]
        )
        raise SpecError(
            f"no interface has a network that contains {ip}: {shown}; with a prefix, such as"
            f" {ip}/{24 if ip.version == 4 else 64}, it brings its own"  # noqa: PLR2004
        )


def moved(world: World, verdicts: Verdicts, address: str, node: NodeName) -> FloatingAddress:
    """Return the record of an address that is to go to a node.

    Raises:
        NotFoundError: there is no such address or node.
        SpecError: the node may not have it now; says why.
    """
    record = _known(world, address)
    if node not in world.nodes:
        known = ", ".join(sorted(world.nodes)[:_SHOWN_MAX])
        raise NotFoundError(f"there is no node {node!r}; there are: {known}")
    spec = world.nodes[node].spec
    if not meets(spec, record.constraints):
        raise SpecError(
            f"{node} may not have {record.address}: it is not {' and '.join(_written(record))}"
        )
    verdict = verdicts.get(node, Verdict.SUSPECT)
    if not verdict.is_sound:
        raise SpecError(f"{node} cannot take {record.address}: it is {verdict}")
    if spec.availability is not Availability.ACTIVE:
        raise SpecError(f"{node} is cordoned: it takes nothing new")
    if world.nodes[node].trouble and node not in _eligible(world, verdicts, record):
        raise SpecError(f"{node} cannot take {record.address}: {_unserved(world, node)[0]}")
    return FloatingAddress(
        address=record.address,
        prefix_length=record.prefix_length,
        constraints=record.constraints,
        moves=record.moves + 1,
        move_to=node,
    )
