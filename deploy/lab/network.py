"""The lab's wires: a switch in a network namespace of its own, a port per host, a client.

The switch has no port to the machine's own network. Outside, a route to nowhere covers the labs'
range, so that not even a mistyped address leaves by the machine's uplink.
"""

from collections.abc import Sequence

from deploy.lab import command
from deploy.lab.plan import (
    CLIENT_NUMBER,
    NETNS_ROOT,
    RANGE,
    ROUTE_PROTOCOL,
    Host,
    Paths,
    address_of,
    mac_of,
    overlapping,
)
from shared.errors import HostError

_BRIDGE = "br0"
_CLIENT_PORT = "pc"
_OURS = str(ROUTE_PROTOCOL)


async def check_range() -> None:
    """Refuse a machine on which the labs' addresses are someone's real ones.

    Raises:
        HostError: names the routes.
    """
    real = {route.dst: route.dev for route in await command.routes() if route.protocol != _OURS}
    clashes = overlapping(real)
    if clashes:
        raise HostError(
            f"labs use {RANGE}, but this machine has routes there: {', '.join(clashes)}; "
            "a lab on it would hide that network"
        )


async def make_dead_end(paths: Paths) -> None:
    """Let nothing for the labs' range leave the machine while the lab is up."""
    await command.run(["ip", "route", "replace", *_dead_end(paths)])


async def remove_dead_end(paths: Paths) -> None:
    """Take this lab's part of the dead end away; other labs keep theirs."""
    if await has_dead_end(paths):
        await command.run(["ip", "route", "del", *_dead_end(paths)])


async def has_dead_end(paths: Paths) -> bool:
    """Say whether this lab's blackhole route is there."""
    return any(
        route.protocol == _OURS and route.metric == paths.metric for route in await command.routes()
    )


def _dead_end(paths: Paths) -> list[str]:
    return ["blackhole", str(RANGE), "metric", str(paths.metric), "proto", _OURS]


async def make_switch(paths: Paths) -> None:
    """Make the switch and the client on it."""
    await command.run(["ip", "netns", "add", paths.switch])
    await command.run(["ip", "netns", "add", paths.client])
    await command.batch(
        paths.switch,
        [
            # No spanning tree and no learning delay: a port that comes up forwards at once.
            f"link add {_BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
            f"link set {_BRIDGE} up",
            _cable(_CLIENT_PORT, CLIENT_NUMBER, paths.client),
            f"link set {_CLIENT_PORT} master {_BRIDGE} up",
        ],
    )
    await command.batch(
        paths.client,
        [
            "link set lo up",
            f"address add {address_of(CLIENT_NUMBER)}/24 dev eth0",
            "link set eth0 up",
        ],
    )


async def plug_in(paths: Paths, pids: Sequence[tuple[Host, int]]) -> None:
    """Connect hosts, given by their process 1, to the switch, each by a new port."""
    known = await command.links(paths.switch)
    commands = [f"link del {host.port}" for host, _ in pids if host.port in known]
    for host, pid in pids:
        commands += [
            _cable(host.port, host.number, str(pid)),
            f"link set {host.port} master {_BRIDGE} up",
        ]
    await command.batch(paths.switch, commands)


def _cable(port: str, number: int, far_end: str) -> str:
    peer = f"peer name eth0 address {mac_of(number)} netns {far_end}"
    return f"link add {port} type veth {peer}"


async def set_ports(paths: Paths, hosts: Sequence[Host], *, up: bool) -> None:
    """Take hosts' switch ports down or up; a host without a port is left out."""
    known = await command.links(paths.switch)
    state = "up" if up else "down"
    commands = [f"link set {host.port} {state}" for host in hosts if host.port in known]
    if commands:
        await command.batch(paths.switch, commands)


async def unplug(paths: Paths, hosts: Sequence[Host]) -> None:
    """Remove hosts' ports and with them the hosts' cards."""
    known = await command.links(paths.switch)
    for port in (host.port for host in hosts if host.port in known):
        try:
            await command.batch(paths.switch, [f"link del {port}"])
        except HostError:
            # The kernel removes a card with the last process of its host, perhaps just now.
            if port in await command.links(paths.switch):
                raise


async def connected(paths: Paths) -> frozenset[str]:
    """Return the names of the switch ports that are up."""
    known = await command.links(paths.switch)
    return frozenset(name for name, link in known.items() if "UP" in link.flags)


async def remove_switch(paths: Paths) -> None:
    """Remove both namespaces, and all ports with them."""
    for name in (paths.switch, paths.client):
        if (NETNS_ROOT / name).exists():
            await command.run(["ip", "netns", "del", name])
