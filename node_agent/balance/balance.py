"""Balances connections to services in the node's kernel.

Nothing is kept but in the kernel: an agent that starts finds what the one before it left.
"""

import asyncio
import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import structlog

from node_agent.balance import conntrack
from node_agent.balance.family import Family, families
from node_agent.balance.flows import Entrance, Reach, entrances, suspects
from node_agent.balance.listening import FILES, listening
from node_agent.balance.listing import found_in
from node_agent.balance.parts import Share, share
from node_agent.balance.plan import Place, Plan, draining_of, opens, plan
from node_agent.balance.table import NAME, NOTHING, Found, change, found_of, whole
from node_agent.gateway.opening import speaks_six
from node_agent.network.fabric import Fabric, FabricStatus, Topology
from node_agent.nftables import Nftables
from shared.errors import HostError
from shared.model import AllocId, NodeName, Revision, Routes, StackName
from shared.settings import Settings
from shared.subnets import gateway_of

AllRoutes = Mapping[StackName, tuple[Revision, Routes]]

_log = structlog.get_logger()

_PROC_NET: Final = Path("/proc/net")
# Thousands of services take nft 2 s; a lock or a machine that swaps, longer.
_WITHIN_S: Final = 30.0


def balances(settings: Settings, nft: Nftables) -> Iterator[Fabric]:
    """Yield one for each family that this node balances in, IPv4 first.

    Each keeps a table of its own: what nft refuses of one leaves the other in force. Of IPv6, if
    not, what an agent with other settings has left is removed.

    Args:
        settings: this host's name, its subnet and the pools.
        nft: what others of this process change tables with, too.
    """
    # The kernel would take the address on the segment, and the answers would come past VXLAN.
    inner = gateway_of(settings.subnet) if settings.is_vxlan else ""
    has_six = speaks_six()
    for family in families(settings.pools, has_six=has_six, inner=inner):
        yield Balance(NodeName(settings.node), family, nft)
    if has_six and not settings.pools.pool6:
        yield Leftover("ip6", nft)


class Balance:
    """Implements Fabric: virtual addresses, published UDP ports and host ports of one family."""

    def __init__(self, node: NodeName, family: Family, nft: Nftables) -> None:
        self._node, self._family = node, family
        # What the kernel has, as far as is known; None: not known.
        self._found: Found | None = None
        self._nft, self._strangers = nft, 0
        # Per stack, what its routes ask for, as long as they are the same.
        self._shares: dict[StackName, tuple[Routes, Share]] = {}
        # Where connections were allowed to lead when they were last looked through.
        self._reaches: Mapping[Entrance, Reach | None] = {}
        self._acked: Mapping[StackName, Revision] = {}

    async def apply(self, topology: Topology, *, looks: bool = True) -> FabricStatus:  # noqa: ARG002 - a look is cheap
        """Make the table what `topology` asks for, and forget connections that lead nowhere."""
        try:
            await self._look()
            problems = await self._make_true(topology)
        except HostError as error:
            self._found = None
            _log.error("balance_failed", reason=str(error))
            # What was acknowledged before is still in force, or nothing is.
            busy, unseen = await self._busy()
            return FabricStatus(self._acked, (str(error), *unseen), busy)
        self._acked = {stack: revision for stack, (revision, _) in topology.routes.items()}
        busy, unseen = await self._busy()
        return FabricStatus(self._acked, (*problems, *unseen), busy)

    async def _look(self) -> None:
        """Learn what the kernel has, if somebody else has changed any rule.

        If that is not what was left there, connections may have been made without it.
        """
        strangers = await self._nft.strangers()
        if self._found is not None and strangers == self._strangers:
            return
        text = await self._nft.list(self._family.keyword, NAME, _WITHIN_S)
        found = found_in(text) if text is not None else NOTHING
        if found != self._found:
            if self._found is not None:
                _log.warning("table_changed", table="by another hand")
            self._reaches = dict.fromkeys(entrances(found))
        self._found, self._strangers = found, strangers

    async def _make_true(self, topology: Topology) -> tuple[str, ...]:
        """Return what is wrong all the same.

        Raises:
            HostError: nft refused.
        """
        known = self._found or NOTHING
        shares = self._shares_of(topology.routes)
        # Reading what the host's programs have takes the kernel some ms: only if it matters.
        taken = listening(_sockets(), self._family) if opens(shares, known) else frozenset()
        wanted = plan(shares, Place(family=self._family, found=known, listening=taken))
        script = change(known, wanted.table)
        if script:
            self._found = None
            try:
                await self._nft.run(script, NAME, _WITHIN_S)
            except HostError as error:
                _log.warning("table_made_new", reason=str(error))
                await self._nft.run(whole(wanted.table), NAME, _WITHIN_S)
            self._found = found_of(wanted.table)
        return (*wanted.problems, *await self._flush(wanted))

    def _shares_of(self, routes: AllRoutes) -> tuple[Share, ...]:
        known, self._shares = self._shares, {}
        for stack, (_, of_stack) in sorted(routes.items()):
            had = known.get(stack)
            self._shares[stack] = (
                had
                if had is not None and had[0] is of_stack
                else (of_stack, share(of_stack, self._node, self._family))
            )
        return tuple(found for _, found in self._shares.values())

    async def _flush(self, wanted: Plan) -> tuple[str, ...]:
        """Return a problem if connections could not be looked through; the next pass does then."""
        suspected = suspects(self._reaches, wanted.reaches)
        try:
            await asyncio.to_thread(conntrack.flush, self._family, suspected)
        except HostError as error:
            _log.error("flush_failed", reason=str(error))
            return (str(error),)
        self._reaches = wanted.reaches
        return ()

    async def _busy(self) -> tuple[tuple[AllocId, ...], tuple[str, ...]]:
        """Return the draining endpoints that have open connections, and a problem if nobody knows.

        The kernel is asked only while something drains.
        """
        draining = draining_of(share for _, share in self._shares.values())
        if not draining:
            return (), ()
        try:
            found = await asyncio.to_thread(conntrack.busy, self._family, draining)
        except HostError as error:
            # Better to wait than to cut one off.
            everyone = {id_ for some in draining.values() for _, id_ in some}
            return tuple(sorted(everyone)), (str(error),)
        return tuple(sorted(found)), ()


class Leftover:
    """Implements Fabric: a family in which this node balances no more has no table.

    Only an agent before this one can have left it, so it is looked for until it is gone, once. No
    route waits for that.
    """

    def __init__(self, keyword: str, nft: Nftables) -> None:
        self._keyword, self._nft = keyword, nft
        self._is_gone = False

    async def apply(self, topology: Topology, *, looks: bool = True) -> FabricStatus:  # noqa: ARG002 - it is gone for good
        """Remove the table, if it is there."""
        acked = {stack: revision for stack, (revision, _) in topology.routes.items()}
        try:
            await self._remove()
        except HostError as error:
            _log.error("leftover_stays", family=self._keyword, reason=str(error))
            return FabricStatus(acked, (str(error),))
        return FabricStatus(acked)

    async def _remove(self) -> None:
        if self._is_gone:
            return
        there = await self._nft.list(self._keyword, NAME, _WITHIN_S, terse=True)
        if there is not None:
            await self._nft.run(f"delete table {self._keyword} {NAME}\n", NAME, _WITHIN_S)
            _log.info("leftover_removed", family=self._keyword, table=NAME)
        self._is_gone = True


def _sockets() -> Mapping[str, str]:
    """Return what the kernel says of this host's sockets; without IPv6 it has fewer files."""
    found: dict[str, str] = {}
    for name in FILES:
        with contextlib.suppress(FileNotFoundError):
            found[name] = (_PROC_NET / name).read_text()
    return found
