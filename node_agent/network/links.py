"""One container's link: a veth pair with a route, and no bridge that others are on as well.

The container's end has its addresses as /32 and a default route by a gateway that it need not find:
the node's end answers for it. So containers share no segment; whatever they say to each other goes
through the node's rules, and no answer to an ARP request can lead it elsewhere.
"""

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from node_agent.network import namespaces
from node_agent.network.addresses import mac_of, prefix_of, six_of
from node_agent.network.cluster import Local
from node_agent.network.netlink import Batch
from node_agent.network.rules import GROUP
from shared.subnets import gateway_of

INNER: Final = "eth0"
_LOOPBACK: Final = 1
_GET_FLAGS: Final = 0x8913
_GET_MAC: Final = 0x8927
_RUNNING: Final = 0x40
_REQUEST: Final = struct.Struct("16sH14s")
_PROC: Final = Path("/proc/thread-self/net")
_PROC_SYS: Final = Path("/proc/sys/net/ipv4/conf")
_STRICT: Final = "1"
_ANY4: Final = "00000000"
_ANY6: Final = "0" * 32


class Link(msgspec.Struct, frozen=True, kw_only=True):
    """A container's link as it should be.

    Attributes:
        name: of the node's end.
        addresses: all of the container, IPv6 ones too.
        gateways: one of each family that it has.
        mac: of the container's end; the node's end has `gateway_mac`.
        mtu: 0: the kernel's own.
        bridged: how long its prefix was in an older version.
    """

    name: str
    addresses: tuple[str, ...]
    gateways: tuple[str, ...]
    mac: str
    gateway_mac: str
    mtu: int
    bridged: int


def link_of(name: str, local: Local, subnet: str, pool6: str, mtu: int) -> Link:
    """Return the link for a container that has an address. Pure."""
    gateway = gateway_of(subnet)
    sixes = tuple(six_of(pool6, each) for each in local.addresses) if pool6 else ()
    return Link(
        name=name,
        addresses=(*local.addresses, *sixes),
        gateways=(gateway, *((six_of(pool6, gateway),) if pool6 else ())),
        mac=mac_of(local.address),
        gateway_mac=mac_of(gateway),
        mtu=mtu,
        bridged=int(subnet.rpartition("/")[2]),
    )


def make(pin: Path, link: Link | None) -> None:
    """Make a namespace with a link, or with loopback alone.

    The node's end is up last, so it tells the rest.

    Raises:
        OSError: the kernel refused.
    """
    namespaces.make(pin)
    if link is None:
        namespaces.enter(pin, _loopback)
    else:
        join(pin, link)


def join(pin: Path, link: Link) -> None:
    """Give a namespace its link.

    Raises:
        OSError: the kernel refused.
    """
    mtu = {"mtu": link.mtu} if link.mtu else {}
    batch = Batch()
    with _opened(pin) as descriptor:
        peer = {"ifname": INNER, "address": link.mac, "net_ns_fd": descriptor, **mtu}
        batch.add_veth(link.name, peer, address=link.gateway_mac, group=GROUP, **mtu)
        batch.send()
    namespaces.enter(pin, lambda: _inner(link).send())
    outer(link).send()


def remove(name: str, pin: Path) -> None:
    """Remove a link and its namespace; idempotent.

    Raises:
        OSError: the kernel refused.
    """
    batch = Batch()
    batch.no_link(name)
    batch.send()
    namespaces.remove(pin)


def outer(link: Link) -> Batch:
    """Return what makes the node's end what it should be, wherever it was before."""
    index = socket.if_nametoindex(link.name)
    _filter(link.name).write_text(_STRICT)
    batch = Batch()
    mtu = {"mtu": link.mtu} if link.mtu else {}
    batch.set_link(index, up=True, master=0, group=GROUP, address=link.gateway_mac, **mtu)
    for address in link.addresses:
        batch.route(prefix_of(address), index)
        batch.neighbour(index, address, link.mac)
    return batch


def _inner(link: Link, *, anew: bool = False) -> Batch:
    index = socket.if_nametoindex(INNER)
    mtu = {"mtu": link.mtu} if link.mtu else {}
    batch = Batch()
    batch.set_link(_LOOPBACK, up=True)
    if anew:
        batch.no_address(index, link.addresses[0], link.bridged)
    batch.set_link(index, up=True, address=link.mac, **mtu)
    for address in link.addresses:
        batch.address(index, address, 128 if ":" in address else 32)
    for gateway in link.gateways:
        batch.route("::/0" if ":" in gateway else "0.0.0.0/0", index, gateway)
        batch.neighbour(index, gateway, link.gateway_mac)
    return batch


def _loopback() -> None:
    batch = Batch()
    batch.set_link(_LOOPBACK, up=True)
    batch.send()


def is_up(name: str) -> bool:
    """Say whether the node's end of a link is up, and the other one, too."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, _GET_FLAGS, _REQUEST.pack(name.encode(), 0, b""))
        except OSError:
            return False
    flags: int = _REQUEST.unpack(answer)[1]
    return bool(flags & _RUNNING)


def is_filtered(name: str) -> bool:
    """Say whether the kernel itself drops sources that do not belong to a link."""
    try:
        return _filter(name).read_text().strip() == _STRICT
    except FileNotFoundError:
        return False


def _filter(name: str) -> Path:
    return _PROC_SYS / name / "rp_filter"


def mend(pin: Path, link: Link, *, anew: bool) -> bool:
    """Make the container's end whole where it is not; say whether something was missing.

    What a container has made itself, such as another default route, is left alone.

    Args:
        pin: its namespace.
        link: what should be there.
        anew: in any case, and without what an older version has left there.

    Raises:
        OSError: the kernel refused.
    """

    def inside() -> bool:
        if not anew and _is_whole(link):
            return False
        _inner(link, anew=anew).send()
        return True

    return namespaces.enter(pin, inside)


def _is_whole(link: Link) -> bool:
    """Look at it as the kernel tells in text, which costs a twentieth of asking for messages."""
    trie = (_PROC / "fib_trie").read_text()
    four = [each for each in link.addresses if ":" not in each]
    if not all(f"|-- {address}\n" in trie for address in four):
        return False
    routes = (line.split("\t") for line in (_PROC / "route").read_text().splitlines()[1:])
    if not any(route[1] == route[7] == _ANY4 for route in routes):
        return False
    return _mac() == link.mac and _is_whole6(link)


def _is_whole6(link: Link) -> bool:
    six = [each for each in link.addresses if ":" in each]
    if not six:
        return True
    there = {line.split()[0] for line in (_PROC / "if_inet6").read_text().splitlines()}
    routes = (line.split() for line in (_PROC / "ipv6_route").read_text().splitlines())
    has_way = any(route[0] == _ANY6 and route[1] == "00" and route[9] != "lo" for route in routes)
    return has_way and {socket.inet_pton(socket.AF_INET6, each).hex() for each in six} <= there


def _mac() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        answer = fcntl.ioctl(any_socket, _GET_MAC, _REQUEST.pack(INNER.encode(), 0, b""))
    return ":".join(f"{byte:02x}" for byte in _REQUEST.unpack(answer)[2][:6])


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
