"""Floating addresses in the kernel: implements node_agent.floating.host.HostAddresses.

Each is marked as ours and has a lifetime: the kernel removes it by itself unless it is renewed, so
that it goes with an agent that is gone or stands still. A restart of the agent finds them again.
"""

import asyncio
import contextlib
import ipaddress
import select
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

import msgspec
import structlog
from pyroute2 import IPRoute, NetlinkError

from node_agent.floating import frames
from node_agent.floating.host import HostStatus, Wish
from shared.clock import Clock
from shared.errors import HostError

T = TypeVar("T")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_log = structlog.get_logger()

# Marks our addresses (ip address show: "proto 72"); a number that no daemon uses.
ADDRESS_PROTOCOL: Final = 72
# linux/if_addr.h: no duplicate address detection, which takes a second; whether somebody has the
# address is asked before.
_NODAD: Final = 0x02
_FOREVER: Final = 0xFFFF_FFFF
# After the first announcement: a neighbour may have missed it, or asked the old holder meanwhile.
_AGAIN_S: Final = (0.2, 1.0)
# Heals what a machine that came to itself, or a neighbour that missed them all, got wrong.
_REFRESH_S: Final = 10.0
# Three questions in this time; a machine that is there answers within milliseconds.
_ASK_S: Final = 0.3
_QUESTIONS: Final = 3
_FRAME_BYTES: Final = 2048
_ENOENT_LIKE: Final = (2, 19, 99)  # ENOENT, ENODEV, EADDRNOTAVAIL: it is gone already


class _Card(msgspec.Struct, frozen=True):
    """An interface."""

    index: int
    name: str
    mac: bytes
    is_up: bool


class _Address(msgspec.Struct, frozen=True):
    """An address of the host. `valid_s`: how long it lives on; None: for ever."""

    address: str
    prefix_length: int
    index: int
    is_ours: bool
    valid_s: float | None


class _Host(msgspec.Struct, frozen=True):
    """The host's interfaces and addresses."""

    cards: Mapping[int, _Card]
    addresses: tuple[_Address, ...]

    @property
    def ours(self) -> Mapping[str, _Address]:
        return {one.address: one for one in self.addresses if one.is_ours}


class KernelAddresses:
    """This host's floating addresses.

    Args:
        address: the node's own: its interface gets those that bring their own network.
        inner: interfaces with this beginning are the containers'.
        clock: says when to tell the neighbours again.
    """

    def __init__(self, address: str, clock: Clock, *, inner: str = "hafen") -> None:
        self._own, self._clock, self._inner = address, clock, inner
        # A thread of its own: nothing that is slow may stand before a drop.
        self._thread = ThreadPoolExecutor(1, "floating")
        self._netlink: IPRoute | None = None
        self._news: dict[str, tuple[float, int]] = {}  # address -> since when, times told

    async def look(self) -> HostStatus:
        """Return what is there; change nothing."""
        return await self._run(lambda ip: self._status(_read(ip), {}, None))

    async def apply(self, wishes: Sequence[Wish]) -> HostStatus:
        """Answer these and no others; tell the neighbours of those that are new."""
        return await self._run(lambda ip: self._apply(ip, wishes))

    async def answered_by(self, wish: Wish) -> str:
        """Ask the segment who answers an address; return a sentence, empty: nobody does."""
        host = await self._run(_read)
        card = self._card_for(host, wish)
        if isinstance(card, str):
            return card
        mac = await asyncio.to_thread(_ask, card, wish.address)
        return f"{mac} on {card.name} answers {wish.address}: a machine has it" if mac else ""

    def close(self) -> None:
        """Let go of the kernel; the addresses stay for as long as they have."""
        self._thread.shutdown(wait=True)
        if self._netlink is not None:
            self._netlink.close()

    async def _run(self, work: Callable[[IPRoute], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._inside, work)

    def _inside(self, work: Callable[[IPRoute], T]) -> T:
        try:
            if self._netlink is None:
                self._netlink = IPRoute()
            return work(self._netlink)
        except (NetlinkError, OSError) as error:
            # What is left unread on the socket would be taken for the next answer.
            netlink, self._netlink = self._netlink, None
            if netlink is not None:
                netlink.close()
            raise HostError(
                f"the kernel does not say which addresses there are: {error}"
            ) from error

    # ------------------------------------------------------------ one comparison

    def _apply(self, ip: IPRoute, wishes: Sequence[Wish]) -> HostStatus:
        # Drops come first, before the links are asked for: a host has one for each container.
        addresses = _addresses(ip)
        wanted = {wish.address for wish in wishes}
        for there in addresses:
            if there.is_ours and there.address not in wanted:
                _remove(ip, there)
                self._news.pop(there.address, None)
        host = _Host(_cards(ip), addresses)
        problems = {}
        for wish in wishes:
            problem = self._have(ip, host, wish)
            if problem:
                problems[wish.address] = problem
        host = _Host(host.cards, _addresses(ip))
        again = self._tell(host)
        return self._status(host, problems, again)

    def _have(self, ip: IPRoute, host: _Host, wish: Wish) -> str:
        """Make one address so; return why it cannot be had."""
        there = host.ours.get(wish.address)
        if wish.lifetime_s is None:
            return ""
        if there is None:
            if any(one.address == wish.address for one in host.addresses):
                return f"{wish.address} is an address of this host already"
            card = self._card_for(host, wish)
            if isinstance(card, str):
                return card
            there = _Address(wish.address, _length(host, wish), card.index, True, None)  # noqa: FBT003
            _forget_neighbour(ip, there)
        try:
            ip.addr("replace", **_wire(there), **_lifetime(wish.lifetime_s))
        except (NetlinkError, OSError) as error:
            return f"the kernel refuses {wish.address}: {error}"
        return ""

    def _status(
        self, host: _Host, problems: Mapping[str, str], again_s: float | None
    ) -> HostStatus:
        return HostStatus(
            up={address: there.valid_s or 0.0 for address, there in host.ours.items()},
            segments=tuple(sorted({str(net) for net, _ in self._segments(host)})),
            problems=problems,
            again_s=again_s,
        )

    # ------------------------------------------------------------ where it belongs

    def _segments(self, host: _Host) -> Iterable[tuple[Network, _Card]]:
        """Yield the networks of the interfaces that lead outside."""
        for one in host.addresses:
            net = ipaddress.ip_network(f"{one.address}/{one.prefix_length}", strict=False)
            card = host.cards.get(one.index)
            is_outside = card is not None and not card.name.startswith((self._inner, "lo"))
            is_one = one.is_ours or net.num_addresses == 1 or net.is_link_local or net.is_loopback
            if card is not None and is_outside and not is_one:
                yield net, card

    def _card_for(self, host: _Host, wish: Wish) -> _Card | str:
        """Return the interface that an address belongs on, or why there is none."""
        ip = ipaddress.ip_address(wish.address)
        found = [(net.prefixlen, card) for net, card in self._segments(host) if ip in net]
        if not found and wish.prefix_length:
            own = {one.index for one in host.addresses if one.address == self._own}
            found = [(0, host.cards[index]) for index in sorted(own & host.cards.keys())]
        if not found:
            return f"no interface of this node has a network that contains {wish.address}"
        card = max(found, key=lambda one: one[0])[1]
        return card if card.is_up else f"{card.name} has no link"

    # ------------------------------------------------------------ neighbours

    def _tell(self, host: _Host) -> float | None:
        """Tell the neighbours what they should know by now; return when to tell them again."""
        now, waits = self._clock.boot_s(), []
        for address, there in host.ours.items():
            card = host.cards.get(there.index)
            since_s, times = self._news.get(address, (now, 0))
            due_s = since_s + _due(times)
            if card is not None and now >= due_s:
                _send(card, frames.announcements(address, card.mac))
                times += 1
                due_s = since_s + _due(times)
            self._news[address] = since_s, times
            waits.append(max(due_s - now, 0.0))
        return min(waits, default=None)


def _due(times: int) -> float:
    """Return when a neighbour is told for the (times + 1)th time, counted from the first."""
    known = (0.0, *_AGAIN_S)
    return known[times] if times < len(known) else (times - len(known) + 1) * _REFRESH_S


# ------------------------------------------------------------ netlink


def _read(ip: IPRoute) -> _Host:
    return _Host(_cards(ip), _addresses(ip))


def _cards(ip: IPRoute) -> dict[int, _Card]:
    return {
        link["index"]: _Card(
            index=link["index"],
            name=link.get_attr("IFLA_IFNAME"),
            mac=_packed(link.get_attr("IFLA_ADDRESS")),
            is_up=link.get_attr("IFLA_OPERSTATE") in {"UP", "UNKNOWN"},
        )
        for link in ip.get_links()
    }


def _addresses(ip: IPRoute) -> tuple[_Address, ...]:
    return tuple(_address(one) for one in ip.get_addr())


def _packed(mac: str | None) -> bytes:
    return bytes.fromhex((mac or "").replace(":", ""))


def _address(message: Any) -> _Address:
    lives = message.get_attr("IFA_CACHEINFO") or {}
    valid = lives.get("ifa_valid", _FOREVER)
    return _Address(
        address=message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS"),
        prefix_length=message["prefixlen"],
        index=message["index"],
        is_ours=message.get_attr("IFA_PROTO") == ADDRESS_PROTOCOL,
        valid_s=None if valid == _FOREVER else float(valid),
    )


def _length(host: _Host, wish: Wish) -> int:
    """Return the prefix length to give: a single address, unless it must bring its network."""
    ip = ipaddress.ip_address(wish.address)
    known = any(
        not one.is_ours
        and one.prefix_length < ip.max_prefixlen
        and ip in ipaddress.ip_network(f"{one.address}/{one.prefix_length}", strict=False)
        for one in host.addresses
    )
    return ip.max_prefixlen if known or not wish.prefix_length else wish.prefix_length


def _wire(there: _Address) -> dict[str, Any]:
    is_v6 = ipaddress.ip_address(there.address).version == 6  # noqa: PLR2004
    said: dict[str, Any] = {
        "index": there.index,
        "address": there.address,
        "prefixlen": there.prefix_length,
        "family": socket.AF_INET6 if is_v6 else socket.AF_INET,
    }
    return said | ({"IFA_FLAGS": _NODAD} if is_v6 else {})


def _lifetime(seconds: int) -> dict[str, Any]:
    lives = {"ifa_preferred": seconds, "ifa_valid": seconds}
    return {"IFA_CACHEINFO": lives, "IFA_PROTO": ADDRESS_PROTOCOL}


def _remove(ip: IPRoute, there: _Address) -> None:
    try:
        ip.addr("del", **_wire(there))
    except NetlinkError as error:
        if error.code not in _ENOENT_LIKE:
            _log.error("address_not_removed", address=there.address, reason=str(error))


def _forget_neighbour(ip: IPRoute, there: _Address) -> None:
    """Forget who had the address before us."""
    with contextlib.suppress(NetlinkError):
        ip.neigh("del", dst=there.address, ifindex=there.index)


# ------------------------------------------------------------ the segment


def _send(card: _Card, what: Iterable[bytes]) -> None:
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as wire:
            wire.bind((card.name, 0))
            for frame in what:
                wire.send(frame)
    except OSError as error:
        _log.warning("not_announced", interface=card.name, reason=str(error))


def _ask(card: _Card, address: str) -> str:
    """Return the card that answers an address; empty: none does."""
    kind, own = frames.kind_of(address), card.mac.hex(":")
    try:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind)) as wire:
            wire.bind((card.name, kind))
            for _ in range(_QUESTIONS):
                wire.send(frames.question(address, card.mac))
                mac = _hear(wire, address, own, _ASK_S / _QUESTIONS)
                if mac:
                    return mac
    except OSError as error:
        _log.warning("not_asked", interface=card.name, reason=str(error))
    return ""


def _hear(wire: socket.socket, address: str, own: str, seconds: float) -> str:
    ends = time.monotonic() + seconds
    wanted = str(ipaddress.ip_address(address))
    while (left := ends - time.monotonic()) > 0:
        if not select.select([wire], [], [], left)[0]:
            return ""
        told = frames.told(wire.recv(_FRAME_BYTES))
        if told is not None and told.address == wanted and told.mac != own:
            return told.mac
    return ""
