"""One node's network.

A namespace with a link and addresses for each container, routes to the other nodes, and the rules
of who may talk to whom. Everything lies in the kernel and in small files under the run directory,
which a reboot empties with it; the agent may be killed at any moment and finds it all again.
"""

import asyncio
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import structlog
from pyroute2 import NetlinkError

from node_agent.each import OfEach
from node_agent.network import kernel, links, namespaces
from node_agent.network.address_book import AddressBook, link_name
from node_agent.network.cluster import (
    Cluster,
    Local,
    Site,
    Writer,
    cluster_of,
    decode,
    fixed_of,
    located,
    networks_of,
)
from node_agent.network.fabric import FabricStatus, Topology
from node_agent.network.mending import Said, mend
from node_agent.network.network import HOST, NOTHING, Asked, Attachment
from node_agent.network.nft import Table
from node_agent.network.parts import Parts
from node_agent.network.plan import BRIDGE, Host, clashes, plan_of
from node_agent.network.policy import Frame
from node_agent.network.rulings import Rulings
from node_agent.nftables import Nftables
from shared.errors import HostError, RuntimeFailureError
from shared.files import replace
from shared.model import AllocId, NodeName, Revision, StackName
from shared.settings import Settings

_log = structlog.get_logger()

_CLUSTER: Final = "network.cluster"
_LOOPBACK: Final = "lo"
_REFUSED: Final = (NetlinkError, OSError)


class _Asked(NamedTuple):
    """What links and routes follow from."""

    sites: tuple[Site, ...]
    fixed: tuple[tuple[NodeName, tuple[str, ...]], ...]
    here: Mapping[AllocId, Local]


class NodeNetwork:
    """Implements ContainerNetwork and Fabric.

    Args:
        settings: this host's subnet, the pools, the mode, and the run directory.
        nft: what others of this process change tables with, too.
    """

    def __init__(self, settings: Settings, nft: Nftables) -> None:
        self._settings = settings
        self._book = AddressBook(settings.run_dir, settings.subnet, NodeName(settings.node))
        self._file = settings.run_dir / _CLUSTER
        # `_noted` is what the next agent would begin with.
        self._cluster = self._noted = _read(self._file)
        self._writer = Writer()
        self._table = Table(nft)
        self._acked: Mapping[StackName, Revision] = {}
        self._mtu = 0
        self._parts = Parts()
        # What links and routes were found for, and made without a problem; None: they may not be.
        self._mended: _Asked | None = None
        self._fixed = OfEach(fixed_of)
        self._rulings = Rulings(NodeName(settings.node), self._frame())
        # Over addresses and links, and over the rules.
        self._lock, self._rules_lock = asyncio.Lock(), asyncio.Lock()

    async def set_up(self) -> None:
        """Make the node's own devices, forwarding and rules what they should be; idempotent.

        Raises:
            HostError: the kernel refused; says what.
        """
        try:
            await asyncio.to_thread(self._make_devices)
        except _REFUSED as error:
            raise HostError(f"cannot make bridge {BRIDGE}: {error}") from error
        await self._make_rules()

    async def apply(self, topology: Topology, *, looks: bool = True) -> FabricStatus:
        """Make links, routes and rules what they should be, whatever somebody removed by hand.

        A stack's routes are acknowledged when the rules are in force and the ways to all nodes that
        have replicas of it are there.
        """
        problems: list[str] = []
        is_in_force = False
        try:
            await self._follow(topology, looks=looks)
        except OSError as error:
            problems.append(f"cannot note containers' addresses: {error}")
        else:
            async with asyncio.TaskGroup() as group:
                noting = group.create_task(self._note())
                refused = await self._try_rules(learns=looks)
            is_in_force = not refused
            problems += [*refused, *noting.result()]
        try:
            async with self._lock:
                said, failed = await self._whole(looks=looks)
            problems += said
            if is_in_force:
                self._acked = _acked(topology, failed)
        except _REFUSED as error:
            problems.append(f"cannot make this node's links: {error}")
        there = {stack: each for stack, each in self._acked.items() if stack in topology.routes}
        return FabricStatus(there, tuple(problems))

    # ------------------------------------------------------------ containers

    async def attach(self, id_: AllocId, asked: Asked = NOTHING) -> Attachment:
        """Return the container's attachment, made now if it has none."""
        if asked.mode == HOST:
            return Attachment(self._settings.address, "")
        try:
            async with self._lock:
                local = await asyncio.to_thread(self._attach, id_, asked)
        except _REFUSED as error:
            raise RuntimeFailureError(f"cannot attach {id_} to the network: {error}") from error
        return Attachment(local.address, str(self._book.pin(id_)))

    async def admit(self, id_: AllocId) -> None:
        """Return when the rules have the container, as all that are attached."""
        try:
            await self._make_rules()
        except HostError as error:
            raise RuntimeFailureError(f"cannot attach {id_} to the network: {error}") from error

    async def find(self, id_: AllocId) -> Attachment | None:
        """Return the attachment that the container has, or None."""
        local, pin = self._book.of(id_), self._book.pin(id_)
        if local is None or not namespaces.is_pinned(pin):
            return None
        return Attachment(local.address, str(pin))

    async def detach(self, id_: AllocId) -> None:
        """Remove the container's namespace and free its addresses."""
        async with self._lock:
            try:
                await asyncio.to_thread(self._detach, id_)
            except _REFUSED as error:
                raise RuntimeFailureError(
                    f"cannot detach {id_} from the network: {error}"
                ) from error

    def _attach(self, id_: AllocId, asked: Asked) -> Local:
        before = self._book.all()
        local, pin = self._book.take(id_, asked), self._book.pin(id_)
        is_whole = namespaces.is_pinned(pin) and (not local.address or links.is_up(link_name(id_)))
        if not is_whole:
            whole, self._mended = self._mended, None
            links.remove(link_name(id_), pin)
            links.make(pin, self._link(id_, local) if local.address else None)
            self._mended = whole
        self._follow_book(before)
        return local

    def _detach(self, id_: AllocId) -> None:
        before = self._book.all()
        links.remove(link_name(id_), self._book.pin(id_))
        self._book.free(id_)
        self._follow_book(before)

    def _follow_book(self, before: Mapping[AllocId, Local]) -> None:
        """Count a link that was made whole, or removed whole, as what it is.

        Others wait while all are looked at. A fixed address may need a route elsewhere: that is
        looked at.
        """
        now = self._book.all()
        changed = {id_ for id_ in before.keys() | now.keys() if before.get(id_) != now.get(id_)}
        has_fixed = any(some[id_].fixed for some in (before, now) for id_ in changed & some.keys())
        if self._mended is not None and self._mended.here == before and not has_fixed:
            self._mended = self._mended._replace(here=now)
        elif changed:
            self._mended = None

    def _link(self, id_: AllocId, local: Local) -> links.Link:
        settings = self._settings
        return links.link_of(link_name(id_), local, settings.subnet, settings.pool6, self._mtu)

    # ------------------------------------------------------------ the whole

    async def _follow(self, topology: Topology, *, looks: bool) -> None:
        """Take over what the leader says."""
        async with self._lock:
            here = await asyncio.to_thread(self._book.look) if looks else self._book.all()
            used = {name for each in here.values() for name in networks_of(each)}
            ports, parts = self._settings.gateway.ports, self._parts.of(topology)
            found = cluster_of(topology, self._cluster, used, ports, parts)
            # The same is the same object, which the rules are known by.
            if found != self._cluster:
                self._cluster = found
            for id_, local in located(self._cluster, here).items():
                if local != here[id_]:
                    await asyncio.to_thread(self._book.put, id_, local)

    async def _note(self) -> list[str]:
        """Write down what rules are made of, for the next agent; return what is in the way."""
        noting = self._cluster
        if noting is self._noted:
            return []
        try:
            await asyncio.to_thread(self._write, noting)
        except OSError as error:
            return [f"cannot write {self._file}, which the next agent starts with: {error}"]
        self._noted = noting
        return []

    def _write(self, cluster: Cluster) -> None:
        replace(self._file, self._writer.encode(cluster))

    async def _try_rules(self, *, learns: bool) -> list[str]:
        """Return why the rules are not in force; nothing: they are."""
        try:
            await self._make_rules()
            if learns:
                async with self._rules_lock:
                    await self._table.learn()
        except HostError as error:
            return [str(error)]
        return []

    async def _make_rules(self) -> None:
        async with self._rules_lock:
            await self._table.make(self._rulings.of(self._cluster, self._book.all()))

    def _frame(self) -> Frame:
        settings = self._settings
        return Frame(
            pool=settings.pool,
            subnet=settings.subnet,
            address=settings.address,
            pool6=settings.pool6,
            vxlan_port=settings.vxlan_port if settings.is_vxlan else 0,
            host_ports=settings.open_ports,
        )

    def _host(self, found: kernel.Found) -> Host:
        settings = self._settings
        uplink = found.devices.get(found.addresses.get(settings.address, ""))
        if uplink is not None and uplink.name == _LOOPBACK:
            uplink = None
        return Host(
            node=settings.node,
            address=settings.address,
            subnet=settings.subnet,
            pool6=settings.pool6,
            uplink=uplink.name if uplink else "",
            mtu=uplink.mtu if uplink else 0,
            vxlan_port=settings.vxlan_port if settings.is_vxlan else 0,
            vxlan_offload=settings.vxlan_offload,
        )

    def _make_devices(self) -> tuple[kernel.Found, Host, list[str]]:
        """Make the node's own devices and parameters; return what is there, and in the way."""
        found = kernel.look()
        host = self._host(found)
        self._mtu = host.inner_mtu
        kernel.set_sysctls(six=bool(host.pool6))
        is_changed = kernel.make_bridge(host, found)
        is_made, problem = kernel.make_vxlan(host, found)
        if is_changed or is_made:
            found = kernel.look()
        return found, host, [problem] if problem else []

    async def _whole(self, *, looks: bool) -> Said:
        """Make everything but the rules whole.

        A look costs some ms for each container. Unless one is due, what was whole counts as whole
        for as long as the same is wanted.
        """
        here = self._book.all()
        fixed = itertools.chain.from_iterable(self._fixed.of(self._cluster.by_stack))
        asked = _Asked(self._cluster.sites, tuple(fixed), here)
        if not looks and self._mended == asked:
            return [], frozenset()
        self._mended = None
        said, failed = await asyncio.to_thread(self._mend, here)
        if not said and not failed:
            self._mended = asked
        return said, failed

    def _mend(self, here: Mapping[AllocId, Local]) -> Said:
        """Mend what is not whole, containers' links first: routes lead to them."""
        found, host, problems = self._make_devices()
        linked = {id_: local for id_, local in here.items() if local.address}
        mended = [self._mend_link(id_, local, found, problems) for id_, local in linked.items()]
        if any(mended):
            found = kernel.look()
        wanted = plan_of(
            host, self._cluster, {link_name(id_): each.addresses for id_, each in linked.items()}
        )
        problems += clashes(host, wanted, found.foreign)
        said, failed = mend(host, wanted, found)
        return [*problems, *said], failed

    def _mend_link(
        self, id_: AllocId, local: Local, found: kernel.Found, problems: list[str]
    ) -> bool:
        """Make a container's link whole; say whether it was not."""
        pin, link = self._book.pin(id_), self._link(id_, local)
        if not namespaces.is_pinned(pin):
            return False  # It was never made whole; who attaches it does that.
        there = found.devices.get(link.name)
        is_right = there is not None and kernel.is_right(there, link)
        anew = not (is_right and links.is_filtered(link.name))
        try:
            if there is None:
                links.join(pin, link)
            elif links.mend(pin, link, anew=anew) or anew:
                links.outer(link).send()
            else:
                return False
        except OSError as error:
            problems.append(f"cannot mend the link of {id_}: {error.strerror}")
            return False
        _log.info("link_mended", allocation=id_)
        return True


def _read(path: Path) -> Cluster:
    try:
        return decode(path.read_bytes()) or Cluster()
    except OSError:
        return Cluster()


def _acked(topology: Topology, failed: frozenset[str]) -> dict[StackName, Revision]:
    """Return the stacks all of whose replicas this node has a way to."""
    lost = {node.name for node in topology.nodes if node.subnet in failed}
    return {
        stack: revision
        for stack, (revision, routes) in topology.routes.items()
        if not failed
        or not any(
            endpoint.node in lost or failed.intersection(f"{a}/32" for a in endpoint.addresses)
            for service in routes.services
            for endpoint in service.endpoints
        )
    }
