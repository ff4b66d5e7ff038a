"""Which ports of the node can be opened."""

import socket
from collections.abc import Mapping, Sequence

import msgspec

from node_agent.gateway.config import Place, Served
from node_agent.gateway.wanted import ports_open, unrouted


class Opening(msgspec.Struct, frozen=True):
    """What can be opened, and a sentence for each port that cannot.

    Attributes:
        rivals: ports that two services of the cluster want: no node can serve both.
        taken: ports that other programs have on this node; another node may have them free.
    """

    served: tuple[Served, ...]
    rivals: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()


def openable(served: Sequence[Served], were_open: Mapping[str, str], place: Place) -> Opening:
    """Return what can be opened.

    Two services on one port would share it between them: HAProxy binds it twice. The one that is
    served already keeps it, else the first by name. Routes come last: their ports may be left to
    others.

    Args:
        served: what should be.
        were_open: what HAProxy has, see wanted.shapes.
        place: the ports of HTTP routes, and which addresses there are to open one at.
    """
    kept: dict[int, Served] = {}
    rivals: list[str] = []
    taken: list[str] = []
    ours = ports_open(were_open)
    published = [each for each in served if each.port.published]
    for each in sorted(published, key=lambda one: one.backend not in were_open):
        port = each.port.published
        if port in kept:
            rivals.append(f"port {port} of {each.service_id} belongs to {kept[port].service_id}")
        elif port in ours or _is_free(port, place):
            kept[port] = each
        else:
            taken.append(_taken(port, each.service_id))
    found = (
        *(kept[port] for port in sorted(kept)),
        *(each for each in served if not each.port.published),
    )
    if any(each.routes for each in served):
        edge = (place.http_port, place.https_port)
        owned = [
            f"port {port} of HTTP routes belongs to {kept[port].service_id}"
            for port in edge
            if port in kept
        ]
        asked = [port for port in edge if port not in kept and port not in ours]
        lacking = [_taken(port, "HTTP routes") for port in asked if not _is_free(port, place)]
        if owned or lacking:
            return Opening(unrouted(found), (*rivals, *owned), (*taken, *lacking))
    return Opening(found, tuple(rivals), tuple(taken))


def _taken(port: int, whose: str) -> str:
    return f"port {port} of {whose} is taken by another program on this node"


def speaks_six() -> bool:
    """Say whether this host's kernel has IPv6."""
    try:
        socket.socket(socket.AF_INET6).close()
    except OSError:
        return False
    return True


def _is_free(port: int, place: Place) -> bool:
    return _is_bindable(socket.AF_INET, "0.0.0.0", port) and (
        not place.has_six or _is_bindable(socket.AF_INET6, "::", port)
    )


def _is_bindable(family: socket.AddressFamily, address: str, port: int) -> bool:
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family is socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True
