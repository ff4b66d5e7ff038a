"""A node's addresses, routes and neighbours: from what is there to what should be.

Blocking; runs in a thread.
"""

from collections.abc import Mapping

from node_agent.network.kernel import Found, split
from node_agent.network.netlink import Batch
from node_agent.network.plan import VXLAN, Host, Plan, Route, difference
from shared.subnets import gateway_of

Said = tuple[list[str], frozenset[str]]


def mend(host: Host, wanted: Plan, found: Found) -> Said:
    """Make addresses, routes and neighbours what they should be.

    Returns: what could not be done, one sentence each, and the networks that are not reached so.
    """
    todo = difference(wanted, found.there, found.foreign)
    index = {name: device.index for name, device in found.devices.items()}
    batch = Batch()
    what = _remove(batch, todo.remove, index)
    # Addresses come before routes, which may name them as their source.
    what += _make(batch, todo.make, index, source=_source(host, found))
    what += _acquaint(batch, todo.make, index)
    said = list(zip(what, batch.try_all(), strict=True))
    refused = {each: error for each, error in said if error is not None}
    lost = (todo.make.routes.keys() - set(what)) | (todo.make.routes.keys() & refused.keys())
    lost |= wanted.routes.keys() & found.foreign.keys()
    problems = [
        f"cannot set {_words(each, wanted.routes)}: {error.strerror}"
        for each, error in refused.items()
    ]
    return problems, frozenset(lost)


def _remove(batch: Batch, gone: Plan, index: Mapping[str, int]) -> list[str]:
    """Add what removes things; return what each message is about."""
    what = []
    for mac, node in sorted(gone.forwards):
        batch.no_forward(index[VXLAN], mac, node)
        what.append(f"no way to {node} on {VXLAN}")
    for device, address in sorted(gone.neighbours):
        batch.no_neighbour(index[device], address)
        what.append(f"no neighbour {address} on {device}")
    for to in sorted(gone.routes):
        batch.no_route(to)
        what.append(f"no route to {to}")
    return what


def _make(batch: Batch, made: Plan, index: Mapping[str, int], source: str) -> list[str]:
    """Add what makes things on the links that are there; return what each message is about."""
    what = []
    for device, address in sorted(made.addresses):
        if device in index:
            batch.address(index[device], *split(address))
            what.append(f"address {address} on {device}")
    for to, route in sorted(made.routes.items()):
        if not route.device or route.device in index:
            own = source if route.via and ":" not in to else ""
            batch.route(to, index.get(route.device, 0), route.via, own)
            what.append(to)
    return what


def _acquaint(batch: Batch, made: Plan, index: Mapping[str, int]) -> list[str]:
    """Add what says where link addresses are; return what each message is about."""
    what = []
    for (device, address), mac in sorted(made.neighbours.items()):
        if device in index:
            batch.neighbour(index[device], address, mac)
            what.append(f"neighbour {address} on {device}")
    for mac, node in sorted(made.forwards):
        if VXLAN in index:
            batch.forward(index[VXLAN], mac, node)
            what.append(f"a way to {node} on {VXLAN}")
    return what


def _source(host: Host, found: Found) -> str:
    """Return the address that this node's own packets have: one that the others know it by."""
    if host.vxlan_port:
        return gateway_of(host.subnet)
    return host.address if host.address in found.addresses else ""


def _words(what: str, routes: Mapping[str, Route]) -> str:
    if what not in routes:
        return what
    via = routes[what].via
    return f"the route to {what} via {via}" if via else f"the route to {what}"
