"""Several changes of links, addresses, routes and neighbours in one message to the kernel.

pyroute2 writes the messages; its own sockets ask and wait for each one, which costs as much as all
else of making a container's link together. `Batch` sends what it was given with one system call, so
that a process that is killed has done all of it or nothing.
"""

import errno
import ipaddress
import os
import socket
import struct
from typing import Any, Final

from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

# Marks our routes, so that only ours are ever removed; a number that no routing daemon uses.
ROUTE_PROTOCOL: Final = 72

_HEADER: Final = struct.Struct("=IHHII")
_ERROR: Final = struct.Struct("=i")
_NLMSG_ERROR: Final = 2
_ANSWER_S: Final = 5.0
_SIZE_MAX: Final = 1 << 16
# In one system call: their answers must fit into a socket's buffer, 208 KiB, of which each takes 1.
_MESSAGES_MAX: Final = 100

_REQUEST: Final = 0x5  # request and acknowledge
_REPLACE: Final = 0x500  # create, or replace what is there
_NEW: Final = 0x600  # create; what is there is an error
_NEWLINK, _DELLINK = 16, 17
_NEWADDR, _DELADDR = 20, 21
_NEWROUTE, _DELROUTE = 24, 25
_NEWNEIGH, _DELNEIGH = 28, 29
_UP: Final = 1
_PERMANENT, _NOARP = 0x80, 0x40
_SELF: Final = 0x02  # the device's own forwarding table
_ONLINK: Final = 4
_NO_DAD: Final = 0x02
_MAIN: Final = 254
_LINK_SCOPE: Final = 253
_BRIDGE: Final = 7
# What is to be removed is gone already.
_GONE: Final = frozenset({errno.EADDRNOTAVAIL, errno.ESRCH, errno.ENOENT, errno.ENODEV})


class Batch:
    """Messages in the order in which the kernel is to follow them."""

    def __init__(self) -> None:
        self._messages: list[bytes] = []
        self._allowed: list[frozenset[int]] = []

    def __len__(self) -> int:
        return len(self._messages)

    # ------------------------------------------------------------ links

    def add_link(self, name: str, kind: str, data: dict[str, Any], **said: Any) -> None:
        """Make a link; `data` are attributes of its kind, `said` its own, such as mtu=1500."""
        info = {"attrs": [("IFLA_INFO_KIND", kind), ("IFLA_INFO_DATA", {"attrs": [*data.items()]})]}
        attributes = [("IFLA_IFNAME", name), *_link(said), ("IFLA_LINKINFO", info)]
        self._add(ifinfmsg, _NEWLINK, _NEW, {}, attributes)

    def add_veth(self, name: str, peer: dict[str, Any], **said: Any) -> None:
        """Make a pair of links; `peer` are attributes of the other end."""
        self.add_link(name, "veth", {"VETH_INFO_PEER": {"attrs": _link(peer)}}, **said)

    def set_link(self, index: int, *, up: bool = False, **said: Any) -> None:
        """Change a link, such as mtu=1500 or master=0."""
        fields = {"index": index, **({"flags": _UP, "change": _UP} if up else {})}
        self._add(ifinfmsg, _NEWLINK, 0, fields, _link(said))

    def no_link(self, name: str) -> None:
        """Remove a link, and the other end of a pair."""
        self._add(ifinfmsg, _DELLINK, 0, {}, [("IFLA_IFNAME", name)], _GONE)

    # ------------------------------------------------------------ addresses

    def address(self, index: int, address: str, length: int) -> None:
        """Give a link an address; IPv6 addresses are used at once, nobody else can have them."""
        fields = {**_family(address), "prefixlen": length, "index": index}
        attributes: list[tuple[str, Any]] = [("IFA_LOCAL", address), ("IFA_ADDRESS", address)]
        if ":" in address:
            attributes.append(("IFA_FLAGS", _NO_DAD))
        self._add(ifaddrmsg, _NEWADDR, _REPLACE, fields, attributes)

    def no_address(self, index: int, address: str, length: int) -> None:
        """Take an address from a link."""
        fields = {**_family(address), "prefixlen": length, "index": index}
        attributes = [("IFA_LOCAL", address), ("IFA_ADDRESS", address)]
        self._add(ifaddrmsg, _DELADDR, 0, fields, attributes, _GONE)

    # ------------------------------------------------------------ routes

    def route(self, to: str, index: int = 0, via: str = "", source: str = "") -> None:
        """Lead a network into a link, or to a neighbour.

        With both, the neighbour is there in whatever network it is; without a link, where the
        kernel finds it.
        """
        fields = {**_to(to), "table": _MAIN, "proto": ROUTE_PROTOCOL, "type": 1}
        attributes = _dst(to)
        if index:
            attributes.append(("RTA_OIF", index))
            fields["flags"] = _ONLINK if via else 0
            fields["scope"] = 0 if via or ":" in to else _LINK_SCOPE
        if via:
            attributes.append(("RTA_GATEWAY", via))
        if source:
            attributes.append(("RTA_PREFSRC", source))
        self._add(rtmsg, _NEWROUTE, _REPLACE, fields, attributes)

    def no_route(self, to: str) -> None:
        """Remove our route to a network."""
        fields = {**_to(to), "table": _MAIN, "proto": ROUTE_PROTOCOL, "scope": 255}
        self._add(rtmsg, _DELROUTE, 0, fields, _dst(to), _GONE)

    # ------------------------------------------------------------ neighbours

    def neighbour(self, index: int, address: str, mac: str) -> None:
        """Say whose link address goes with an address, so that nobody is asked."""
        fields = {**_family(address), "ifindex": index, "state": _PERMANENT}
        attributes = [("NDA_DST", address), ("NDA_LLADDR", mac)]
        self._add(ndmsg, _NEWNEIGH, _REPLACE, fields, attributes)

    def no_neighbour(self, index: int, address: str) -> None:
        """Forget a neighbour."""
        fields = {**_family(address), "ifindex": index}
        self._add(ndmsg, _DELNEIGH, 0, fields, [("NDA_DST", address)], _GONE)

    def forward(self, index: int, mac: str, node: str) -> None:
        """Send what a VXLAN device has for a link address to a node."""
        fields = {"family": _BRIDGE, "ifindex": index, "state": _PERMANENT | _NOARP, "flags": _SELF}
        attributes = [("NDA_LLADDR", mac), ("NDA_DST", node)]
        self._add(ndmsg, _NEWNEIGH, _REPLACE, fields, attributes)

    def no_forward(self, index: int, mac: str, node: str) -> None:
        """Forget where a link address is."""
        fields = {"family": _BRIDGE, "ifindex": index, "flags": _SELF}
        attributes = [("NDA_LLADDR", mac), ("NDA_DST", node)]
        self._add(ndmsg, _DELNEIGH, 0, fields, attributes, _GONE)

    # ------------------------------------------------------------ sending

    def send(self) -> None:
        """Let the kernel do all of it, in the network namespace of this thread.

        Raises:
            OSError: the first thing that it refused; it has done those that it did not refuse.
        """
        for error in self.try_all():
            if error is not None:
                raise error

    def try_all(self) -> list[OSError | None]:
        """Let the kernel do what it can; return for each message what it said against it.

        Raises:
            OSError: it does not answer at all.
        """
        answers: dict[int, int] = {}
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
            kernel.settimeout(_ANSWER_S)
            for first in range(0, len(self), _MESSAGES_MAX):
                part = self._numbered(first)
                kernel.sendto(b"".join(part), (0, 0))
                while len(answers) < first + len(part):
                    answers |= _answers(kernel.recv(_SIZE_MAX))
        return [self._error(number, answers[number + 1]) for number in range(len(self))]

    def _error(self, number: int, code: int) -> OSError | None:
        if code == 0 or code in self._allowed[number]:
            return None
        return OSError(code, os.strerror(code))

    def _numbered(self, first: int) -> list[bytes]:
        numbered = []
        part = self._messages[first : first + _MESSAGES_MAX]
        for number, message in enumerate(part, first + 1):
            length, kind, flags, _, _ = _HEADER.unpack_from(message)
            rest = message[_HEADER.size :]
            numbered.append(_HEADER.pack(length, kind, flags, number, 0) + rest)
        return numbered

    def _add(
        self,
        form: Any,
        kind: int,
        flags: int,
        fields: dict[str, Any],
        attributes: list[tuple[str, Any]],
        allowed: frozenset[int] = frozenset(),
    ) -> None:
        message = form()
        message["header"]["type"], message["header"]["flags"] = kind, _REQUEST | flags
        for name, value in fields.items():
            message[name] = value
        message["attrs"] = attributes
        message.encode()
        data = bytes(message.data)
        self._messages.append(data + b"\0" * (-len(data) % 4))
        self._allowed.append(allowed)


def _answers(data: bytes) -> dict[int, int]:
    """Return the error number for each message's number; 0: it was done."""
    found, at = {}, 0
    while at < len(data):
        length, kind, _, number, _ = _HEADER.unpack_from(data, at)
        if kind == _NLMSG_ERROR:
            found[number] = -_ERROR.unpack_from(data, at + _HEADER.size)[0]
        at += (length + 3) & ~3
    return found


def _link(said: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(f"IFLA_{name.upper()}", value) for name, value in said.items()]


def _family(address: str) -> dict[str, Any]:
    return {"family": socket.AF_INET6 if ":" in address else socket.AF_INET}


def _to(network: str) -> dict[str, Any]:
    return {**_family(network), "dst_len": ipaddress.ip_network(network).prefixlen}


def _dst(network: str) -> list[tuple[str, Any]]:
    address = ipaddress.ip_network(network)
    return [("RTA_DST", str(address.network_address))] if address.prefixlen else []
