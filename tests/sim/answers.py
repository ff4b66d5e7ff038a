"""Who answers floating addresses in a simulated cluster: never two that see each other for long."""

import asyncio
import math
from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Final

from shared import codec, keys
from shared.model import FloatingAddress, FloatingClaim, GatewayWord, NodeName
from shared.pause import Pause
from shared.store import Put, exactly, under
from shared.timing import PROFILES

if TYPE_CHECKING:
    from tests.sim.cluster import SimCluster

ADDRESSES: Final = ("198.18.0.50", "198.18.0.51", "198.18.0.52")
# Overlaps are looked for this often.
_LOOK_S: Final = 0.02

Pair = tuple[str, NodeName, NodeName]


class Answers:
    """Measures for how long two hosts answer the same address.

    Attributes:
        longest_s: of two that reach each other.
        longest_apart_s: of two that do not.
        unanswered_s: how long at most nobody answered an address.
    """

    def __init__(self, cluster: "SimCluster") -> None:
        self._cluster = cluster
        self._since_s: dict[Pair, tuple[float, bool]] = {}
        self._silent_since_s: dict[str, float] = {}
        self.longest_s = self.longest_apart_s = self.unanswered_s = 0.0
        self._even_until_s, self._even = 0.0, Pause()

    def mark(self) -> None:
        """What is answered may have changed, or which hosts are on: look again."""
        self._even_until_s = 0.0
        self._even.end()

    def holders(self) -> Mapping[str, list[NodeName]]:
        """Return which hosts answer each address."""
        on = [(host.name, host.addresses) for host in self._cluster.hosts if host.is_on]
        return {
            address: [name for name, kernel in on if kernel.answers(address)]
            for address in ADDRESSES
        }

    def limit_s(self) -> float:
        """Return how long two hosts that see each other may overlap, whatever froze."""
        timing = PROFILES[self._cluster.made.profile]
        return timing.lease_ttl_s + timing.address_grace_s

    async def watch(self) -> None:
        """Look for ever.

        Raises:
            AssertionError: two answer one address for too long.
        """
        loop = self._cluster.loop
        next_s = loop.now_s
        while True:
            self._look()
            if self.longest_s > self.limit_s():
                raise AssertionError(f"two answer one address for {self.longest_s:.2f} s")
            next_s += _LOOK_S
            if next_s < self._even_until_s:
                # Each address is answered by one, and must be until then, or until a mark.
                await self._even.last(self._even_until_s - loop.now_s)
                next_s += _LOOK_S * max(math.ceil((loop.now_s - next_s) / _LOOK_S), 0)
            await asyncio.sleep(next_s - loop.now_s)

    def _look(self) -> None:
        now, found, holders = self._cluster.loop.now_s, {}, self.holders()
        self._even_until_s = self._ends_s() if all(map(_is_one, holders.values())) else 0.0
        for address, hosts in holders.items():
            if hosts:
                self._silent_since_s.pop(address, None)
            else:
                since_s = self._silent_since_s.setdefault(address, now)
                self.unanswered_s = max(self.unanswered_s, now - since_s)
            for one, other in combinations(hosts, 2):
                is_clear = self._cluster.network.is_clear(one, other)
                pair = address, one, other
                before_s, was_clear = self._since_s.get(pair, (now, is_clear))
                found[pair] = (before_s if was_clear is is_clear else now), is_clear
        self._since_s = found
        for since_s, is_clear in found.values():
            if is_clear:
                self.longest_s = max(self.longest_s, now - since_s + _LOOK_S)
            else:
                self.longest_apart_s = max(self.longest_apart_s, now - since_s + _LOOK_S)

    def _ends_s(self) -> float:
        """Return the moment at which the first address ends if nobody does anything."""
        return min(
            host.clock.true_s(ends_s)
            for host in self._cluster.hosts
            if host.is_on
            for ends_s in host.addresses.ends_s()
        )

    def ask(self) -> None:
        """Ask for the addresses, as the API does."""
        for address in ADDRESSES:
            record, claim = FloatingAddress(address=address), FloatingClaim()
            self._cluster.server.txn(
                [],
                [
                    Put(keys.floating(address), codec.encode(record)),
                    Put(keys.vip(address), codec.encode(claim)),
                ],
            )

    def complaint(self) -> str:
        """Return why the addresses are not at rest; nothing is asked of a cluster without any."""
        if not self._cluster.server.list(under(keys.FLOATING)).items:
            return ""
        wrong = {a: hosts for a, hosts in self.holders().items() if len(hosts) != 1}
        if wrong:
            return f"answered by: {wrong}"
        unsaid = [
            host.name
            for host in self._cluster.hosts
            if host.is_on and self._said(host.name) != host.gateway.trouble
        ]
        return f"gateways that are otherwise than is said: {unsaid}" if unsaid else ""

    def _said(self, name: NodeName) -> str | None:
        """Return what a host says of its gateway; None: nothing."""
        key = keys.gateway(name)
        items = self._cluster.server.list(exactly(key)).items
        return codec.decode(GatewayWord, items[0].value, key).trouble if items else None

    def uneven(self) -> str:
        """Return why the addresses are not level, which takes long: moves wait for calm."""
        held = [name for hosts in self.holders().values() for name in hosts]
        loads = [held.count(host.name) for host in self._cluster.hosts if host.is_on]
        # For minutes it is only this: nothing else is asked meanwhile.
        return f"not level: {held}" if max(loads) - min(loads) > 1 else self.complaint()


def _is_one(hosts: list[NodeName]) -> bool:
    return len(hosts) == 1
