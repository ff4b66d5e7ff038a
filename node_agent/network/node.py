"""One node's network.

A bridge, a namespace with an address for each container, routes to the others.

Everything lies in the kernel and in small files under the run directory, which a reboot empties
with it; the agent may be killed at any moment and finds it all again.
"""

import asyncio
import hashlib
import ipaddress
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import structlog
from pyroute2 import IPRoute, NetlinkError

from node_agent.network import namespaces, rules
from node_agent.network.addresses import gateway_of, mac_of
from node_agent.network.fabric import FabricStatus, Topology
from node_agent.network.network import Attachment
from shared.errors import HostError, RuntimeFailureError
from shared.model import AllocId, NodeName
from shared.settings import Settings
from shared.subnets import capacity_of, pick

_log = structlog.get_logger()

BRIDGE: Final = "hafen0"
# Marks our routes, so that only ours are ever removed; a number that no routing daemon uses.
ROUTE_PROTOCOL: Final = 72
_EEXIST: Final = 17
_NFT_DEADLINE_S: Final = 10.0


class NodeNetwork:
    """Implements ContainerNetwork and Fabric: keeps the node's bridge, routes and rules.

    Args:
        settings: this host's subnet, the pool, and the run directory.
    """

    def __init__(self, settings: Settings) -> None:
        self._subnet = ipaddress.IPv4Network(settings.subnet)
        self._pool, self._node = settings.pool, NodeName(settings.node)
        self._state = settings.run_dir / "network"
        self._pins = settings.run_dir / "netns"
        self._lock = asyncio.Lock()

    async def set_up(self) -> None:
        """Make the bridge, forwarding and rules what they should be; idempotent.

        Raises:
            HostError: the kernel refused; says what.
        """
        try:
            await asyncio.to_thread(self._make_bridge)
        except (NetlinkError, OSError) as error:
            raise HostError(f"cannot make bridge {BRIDGE}: {error}") from error
        await _nft(rules.render(self._pool))

    async def apply(self, topology: Topology) -> FabricStatus:
        """Route every other node's containers through that node; heals bridge and rules as well."""
        try:
            await self.set_up()
        except HostError as error:
            return FabricStatus(problems=(str(error),))
        wanted = {node.subnet: node.address for node in topology.nodes if node.name != self._node}
        await asyncio.to_thread(self._reconcile_routes, wanted)
        return FabricStatus({stack: revision for stack, (revision, _) in topology.routes.items()})

    async def clean_up(self) -> None:
        """Remove everything of ours from the kernel.

        Containers' namespaces, bridge, routes, rules.
        """
        for path in sorted(self._state.glob("*")) if self._state.exists() else []:
            await self.detach(AllocId(path.name))
        await asyncio.to_thread(self._remove_links)
        await _nft(rules.remove())

    # ------------------------------------------------------------ containers

    async def attach(self, id_: AllocId) -> Attachment:
        """Return the container's attachment, made now if it has none."""
        async with self._lock:
            return await asyncio.to_thread(self._attach, id_)

    async def find(self, id_: AllocId) -> Attachment | None:
        """Return the attachment that the container has, or None."""
        address = self._address_of(id_)
        if not address or not namespaces.is_pinned(self._pin(id_)):
            return None
        return Attachment(address, str(self._pin(id_)))

    async def detach(self, id_: AllocId) -> None:
        """Remove the container's namespace and free its address."""
        async with self._lock:
            await asyncio.to_thread(self._detach, id_)

    def _attach(self, id_: AllocId) -> Attachment:
        try:
            address = self._address_of(id_) or self._claim(id_)
            pin = self._pin(id_)
            if not self._is_whole(id_):
                self._unlink(id_)
                self._link(id_, address)
            return Attachment(address, str(pin))
        except (NetlinkError, OSError) as error:
            raise RuntimeFailureError(f"cannot attach {id_} to the network: {error}") from error

    def _detach(self, id_: AllocId) -> None:
        try:
            self._unlink(id_)
            (self._state / id_).unlink(missing_ok=True)
        except (NetlinkError, OSError) as error:
            raise RuntimeFailureError(f"cannot detach {id_} from the network: {error}") from error

    def _claim(self, id_: AllocId) -> str:
        self._state.mkdir(parents=True, exist_ok=True, mode=0o700)
        taken = {path.read_text() for path in self._state.glob("*")}
        mark = self._state.parent / "network.last"
        last = mark.read_text() if mark.exists() else ""
        address = pick(str(self._subnet), taken, last)
        if address is None:
            raise RuntimeFailureError(
                f"no address is free on {self._node}: all {capacity_of(str(self._subnet))}"
                f" of {self._subnet} are taken"
            )
        _replace(self._state / id_, address)
        _replace(mark, address)
        return address

    def _address_of(self, id_: AllocId) -> str:
        path = self._state / id_
        return path.read_text() if path.exists() else ""

    def _pin(self, id_: AllocId) -> Path:
        return self._pins / _short(id_)

    def _is_whole(self, id_: AllocId) -> bool:
        """Say whether namespace and link are there.

        The link is set up last, so it tells the rest.
        """
        if not namespaces.is_pinned(self._pin(id_)):
            return False
        with IPRoute() as ip:
            found = ip.link_lookup(ifname=f"h{_short(id_)}", operstate="UP")
        return bool(found)

    def _link(self, id_: AllocId, address: str) -> None:
        pin, outer = self._pin(id_), f"h{_short(id_)}"
        namespaces.make(pin)
        with _opened(pin) as descriptor, IPRoute() as ip:
            (bridge,) = ip.link_lookup(ifname=BRIDGE)
            ip.link(
                "add",
                ifname=outer,
                kind="veth",
                peer={"ifname": "eth0", "net_ns_fd": descriptor},
            )
            (index,) = ip.link_lookup(ifname=outer)
            ip.link("set", index=index, master=bridge)
            namespaces.enter(pin, lambda: self._configure(address))
            ip.link("set", index=index, state="up")

    def _configure(self, address: str) -> None:
        with IPRoute() as ip:
            (inner,) = ip.link_lookup(ifname="eth0")
            ip.link("set", index=1, state="up")
            ip.addr("add", index=inner, address=address, prefixlen=self._subnet.prefixlen)
            ip.link("set", index=inner, state="up")
            ip.route("add", dst="default", gateway=gateway_of(str(self._subnet)))

    def _unlink(self, id_: AllocId) -> None:
        with IPRoute() as ip:
            for index in ip.link_lookup(ifname=f"h{_short(id_)}"):
                ip.link("del", index=index)
        namespaces.remove(self._pin(id_))

    # ------------------------------------------------------------ node

    def _make_bridge(self) -> None:
        with IPRoute() as ip:
            found = ip.link_lookup(ifname=BRIDGE)
            if not found:
                ip.link("add", ifname=BRIDGE, kind="bridge")
                found = ip.link_lookup(ifname=BRIDGE)
            gateway = gateway_of(str(self._subnet))
            # One of its own: else it is that of some container's link, and changes when that
            # container leaves, and all others lose their gateway for a minute (measured: 61 s).
            ip.link("set", index=found[0], address=mac_of(gateway))
            try:
                ip.addr("add", index=found[0], address=gateway, prefixlen=self._subnet.prefixlen)
            except NetlinkError as error:
                if error.code != _EEXIST:
                    raise
            ip.link("set", index=found[0], state="up")
        forwarding = Path("/proc/sys/net/ipv4/ip_forward")
        if forwarding.read_text().strip() != "1":
            forwarding.write_text("1")

    def _reconcile_routes(self, wanted: dict[str, str]) -> None:
        with IPRoute() as ip:
            for route in ip.get_routes(proto=ROUTE_PROTOCOL):
                there = f"{route.get_attr('RTA_DST')}/{route['dst_len']}"
                if there not in wanted:
                    ip.route("del", dst=there, proto=ROUTE_PROTOCOL)
            for subnet, address in sorted(wanted.items()):
                try:
                    ip.route("replace", dst=subnet, gateway=address, proto=ROUTE_PROTOCOL)
                except NetlinkError as error:
                    # That node is not on this segment; the others' routes matter all the same.
                    _log.error("no_route", subnet=subnet, via=address, reason=str(error))

    def _remove_links(self) -> None:
        with IPRoute() as ip:
            for route in ip.get_routes(proto=ROUTE_PROTOCOL):
                there = f"{route.get_attr('RTA_DST')}/{route['dst_len']}"
                ip.route("del", dst=there, proto=ROUTE_PROTOCOL)
            for index in ip.link_lookup(ifname=BRIDGE):
                ip.link("del", index=index)


def _short(id_: AllocId) -> str:
    """Return a name of 12 characters: the kernel allows 15 for a link."""
    return hashlib.blake2s(id_.encode(), digest_size=6).hexdigest()


def _replace(path: Path, content: str) -> None:
    # No fsync: a reboot empties the run directory, and what it describes, anyway.
    temporary = path.with_name(f"..{path.name}")
    temporary.write_text(content)
    temporary.replace(path)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def _nft(script: str) -> None:
    """Apply a script as one transaction.

    Raises:
        HostError: nft refused it; with its last line.
    """
    process = await asyncio.create_subprocess_exec(
        "nft",
        "-f",
        "-",
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(_NFT_DEADLINE_S):
        _, said = await process.communicate(script.encode())
    if process.returncode != 0:
        last = (said.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise HostError(f"nft refused the rules of table {rules.TABLE}: {last}")
