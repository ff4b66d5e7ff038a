"""The node's links, addresses, routes and neighbours in the kernel: looked at, and mended.

Blocking; runs in a thread. Nothing is remembered: whoever removed something by hand finds it again.
"""

import errno
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
from pyroute2 import IPRoute

from node_agent.network.addresses import mac_of
from node_agent.network.links import Link
from node_agent.network.netlink import ROUTE_PROTOCOL, Batch
from node_agent.network.offload import leaves_checksums, make_checksums
from node_agent.network.plan import (
    BRIDGE,
    VXLAN,
    Host,
    Plan,
    Route,
    addresses_of,
)
from node_agent.network.rules import GROUP
from shared.subnets import gateway_of

# The number of the one virtual network that all nodes share.
VXLAN_ID: Final = 72
_SYSCTL: Final = Path("/proc/sys/net")
_MAIN: Final = 254
_PERMANENT: Final = 0x80
_UP: Final = 1
_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A link of the node as it is."""

    name: str
    index: int
    kind: str
    is_up: bool
    mtu: int
    mac: str
    group: int
    master: int
    data: Mapping[str, Any] = {}


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What the kernel has.

    Attributes:
        devices: by name.
        there: what is ours.
        addresses: of all devices: address without length -> device.
        foreign: networks that others' routes lead to, and where.
    """

    devices: Mapping[str, Device]
    there: Plan
    addresses: Mapping[str, str]
    foreign: Mapping[str, str]


def look() -> Found:
    """Return what this network namespace has.

    Raises:
        OSError, NetlinkError: the kernel does not answer.
    """
    with IPRoute() as ip:
        devices = {each.name: each for each in map(_device, ip.get_links())}
        names = {each.index: each.name for each in devices.values()}
        own = {each.name for each in devices.values() if each.group == GROUP} | {VXLAN}
        ours: dict[str, Route] = {}
        foreign: dict[str, str] = {}
        addresses: set[tuple[str, str]] = set()
        neighbours: dict[tuple[str, str], str] = {}
        for family in _FAMILIES:
            for message in ip.get_addr(family=family):
                address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
                device = names.get(message["index"], "")
                addresses.add((device, f"{address}/{message['prefixlen']}"))
            for message in ip.get_routes(family=family, table=_MAIN):
                _sort_route(message, names, ours, foreign)
            for message in ip.get_neighbours(family=family):
                device = names.get(message["ifindex"], "")
                if message["state"] & _PERMANENT and device in own:
                    key = (device, message.get_attr("NDA_DST"))
                    neighbours[key] = message.get_attr("NDA_LLADDR")
        forwards = frozenset(_forwards(ip, devices[VXLAN].index)) if VXLAN in devices else None
    return Found(
        devices=devices,
        there=Plan(
            routes=ours,
            neighbours=neighbours,
            forwards=forwards or frozenset(),
            addresses=frozenset(addresses),
        ),
        addresses={address.partition("/")[0]: device for device, address in addresses},
        foreign=foreign,
    )


def _device(message: Any) -> Device:
    info = message.get_attr("IFLA_LINKINFO")
    data = info.get_attr("IFLA_INFO_DATA") if info else None
    return Device(
        name=message.get_attr("IFLA_IFNAME"),
        index=message["index"],
        kind=(info.get_attr("IFLA_INFO_KIND") or "") if info else "",
        is_up=bool(message["flags"] & _UP),
        mtu=message.get_attr("IFLA_MTU"),
        mac=message.get_attr("IFLA_ADDRESS") or "",
        group=message.get_attr("IFLA_GROUP") or 0,
        master=message.get_attr("IFLA_MASTER") or 0,
        data=dict(data["attrs"]) if data and "attrs" in data else {},
    )


def _sort_route(
    message: Any, names: Mapping[int, str], ours: dict[str, Route], foreign: dict[str, str]
) -> None:
    address = message.get_attr("RTA_DST")
    device = names.get(message.get_attr("RTA_OIF") or 0, "")
    via = message.get_attr("RTA_GATEWAY") or ""
    if address is None or (message["type"] != 1 and message["proto"] != ROUTE_PROTOCOL):
        return
    to = f"{address}/{message['dst_len']}"
    if message["proto"] == ROUTE_PROTOCOL:
        ours[to] = Route(device, via)
    elif device != BRIDGE and not to.startswith("fe80:"):
        foreign[to] = " ".join(
            word for word in (via and f"via {via}", device and f"dev {device}") if word
        )


def _forwards(ip: IPRoute, index: int) -> Iterator[tuple[str, str]]:
    for message in ip.get_neighbours(family=socket.AF_BRIDGE, ifindex=index):
        node = message.get_attr("NDA_DST")
        if node and message["ifindex"] == index:
            yield message.get_attr("NDA_LLADDR"), node


# ---------------------------------------------------------------- devices


def make_bridge(host: Host, found: Found) -> bool:
    """Make the bridge that has the gateway's addresses, without ports; say whether it was not so.

    A bridge, because not every kernel has links of kind dummy.

    Raises:
        OSError: the kernel refused.
    """
    mac, there = mac_of(gateway_of(host.subnet)), found.devices.get(BRIDGE)
    if there is None:
        batch = Batch()
        batch.add_link(BRIDGE, "bridge", {}, address=mac)
        batch.send()
    index, batch = socket.if_nametoindex(BRIDGE), Batch()
    if there is None or not there.is_up or there.mac != mac:
        batch.set_link(index, up=True, address=mac)
    for device, address in sorted(addresses_of(host) - found.there.addresses):
        if device == BRIDGE:
            batch.address(index, *split(address))
    batch.send()
    return there is None or bool(batch)


def make_vxlan(host: Host, found: Found) -> tuple[bool, str]:
    """Make the device that leads to other nodes' containers, or remove it.

    It learns nothing from what arrives: every node's place is told to it.

    Returns: whether something was changed, and what is in the way.

    Raises:
        OSError: the kernel refused.
    """
    there = found.devices.get(VXLAN)
    if there is not None and there.kind != "vxlan":
        taken = f"link {VXLAN} is a {there.kind or 'device'} of somebody else: remove it"
        return False, taken if host.vxlan_port else ""
    is_right = there is not None and bool(host.vxlan_port) and _is_same(there, host)
    batch = Batch()
    if there is not None and not is_right:
        batch.no_link(VXLAN)
    if host.vxlan_port and not is_right:
        _add_vxlan(batch, host)
    batch.send()
    if not host.vxlan_port:
        return bool(batch), ""
    up = Batch()
    if (
        there is None
        or not is_right
        or not there.is_up
        or there.mtu != (host.inner_mtu or there.mtu)
    ):
        mtu = {"mtu": host.inner_mtu} if host.inner_mtu else {}
        up.set_link(socket.if_nametoindex(VXLAN), up=True, **mtu)
    is_changed = bool(batch or up)
    why = _start(up, host)
    if not host.vxlan_offload and leaves_checksums(VXLAN):
        make_checksums(VXLAN)
        is_changed = True
    return is_changed, why


def _start(up: Batch, host: Host) -> str:
    """Let the device begin; return what is in the way."""
    try:
        up.send()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        return (
            f"UDP port {host.vxlan_port} is taken on this node, VXLAN needs it: end what has it"
            " (ss -ulpn), or set vxlan_port to another one on every node"
        )
    return ""


def _add_vxlan(batch: Batch, host: Host) -> None:
    data = {
        "IFLA_VXLAN_ID": VXLAN_ID,
        "IFLA_VXLAN_LOCAL": host.address,
        "IFLA_VXLAN_PORT": host.vxlan_port,
        "IFLA_VXLAN_LEARNING": 0,
    }
    batch.add_link(VXLAN, "vxlan", data, address=mac_of(gateway_of(host.subnet)))


def _is_same(there: Device, host: Host) -> bool:
    said = there.data
    return (
        said.get("IFLA_VXLAN_ID") == VXLAN_ID
        and said.get("IFLA_VXLAN_LOCAL") == host.address
        and said.get("IFLA_VXLAN_PORT") == host.vxlan_port
        and not said.get("IFLA_VXLAN_LEARNING")
        and there.mac == mac_of(gateway_of(host.subnet))
    )


def set_sysctls(*, six: bool) -> None:
    """Let the node forward packets.

    A link that takes its routes from IPv6 router advertisements goes on doing so, which a kernel
    that forwards would no longer do by itself.

    Raises:
        OSError: the kernel refused.
    """
    _write(_SYSCTL / "ipv4" / "ip_forward", "1")
    if not six:
        return
    if not _SYSCTL.joinpath("ipv6").exists():
        raise OSError(errno.EAFNOSUPPORT, "pool6 is set, and this kernel has no IPv6")
    if _read(_SYSCTL / "ipv6" / "conf" / "all" / "forwarding") == "1":
        return
    for accepts in sorted(_SYSCTL.glob("ipv6/conf/*/accept_ra")):
        if _read(accepts) == "1":
            _write(accepts, "2")
    _write(_SYSCTL / "ipv6" / "conf" / "all" / "forwarding", "1")


def _read(path: Path) -> str:
    return path.read_text().strip()


def _write(path: Path, value: str) -> None:
    if _read(path) != value:
        path.write_text(value)


def is_right(there: Device, link: Link) -> bool:
    """Say whether the node's end of a container's link is as it should be."""
    return (
        there.is_up
        and there.group == GROUP
        and not there.master
        and there.mac == link.gateway_mac
        and there.mtu == (link.mtu or there.mtu)
    )


def split(address: str) -> tuple[str, int]:
    """Return an address and the length of its prefix."""
    alone, _, length = address.partition("/")
    return alone, int(length)
