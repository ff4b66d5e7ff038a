"""The network between the nodes: who hears whom, how late, how often twice, and what gets lost.

Links have a direction each, so that a cut can be one-way. A machine that is on answers echo
requests by itself; what is for its agent waits in a socket while the agent is frozen, and is gone
when there is none.
"""

import asyncio
import random
from collections.abc import Iterable
from contextvars import Context, copy_context
from typing import Final

import msgspec

from node_agent.peers.net import Received, Way
from shared.model import NodeName

Link = tuple[NodeName, NodeName]  # from, to


class Weather(msgspec.Struct, frozen=True, kw_only=True):
    """How the network treats a datagram.

    Attributes:
        delay_s_max: longest way in one direction.
        lost, doubled: shares of all datagrams.
    """

    delay_s_max: float = 0.0
    lost: float = 0.0
    doubled: float = 0.0


FAIR: Final = Weather()
STORM: Final = Weather(delay_s_max=0.5, lost=0.3, doubled=0.3)


class SimNet:
    """One machine's network card; implements Net."""

    def __init__(self, network: "Network", name: NodeName, address: str) -> None:
        self.name, self.address = name, address
        self.is_on = False
        self._network = network
        self._received: Received | None = None
        self._context = Context()
        self._loop = network.loop

    def open(self, received: Received) -> None:
        """Begin to receive, as whoever calls this."""
        self._received, self._context = received, copy_context()

    def send(self, way: Way, address: str, datagram: bytes) -> None:
        """Send and forget."""
        self._network.carry(self, way, address, datagram)

    def close(self) -> None:
        """Receive no more."""
        self._received = None

    def deliver(self, way: Way, address: str, datagram: bytes) -> None:
        """Hand a datagram to whoever receives here."""
        received = self._received
        if received is not None:
            self._loop.call_soon(
                self._hand_over, received, way, address, datagram, context=self._context
            )

    def deliver_in(self, delay_s: float, way: Way, address: str, datagram: bytes) -> None:
        """Hand a datagram to whoever receives here now and still does by then."""
        self._loop.call_later(
            delay_s, self._hand_over, self._received, way, address, datagram, context=self._context
        )

    def _hand_over(
        self, received: Received | None, way: Way, address: str, datagram: bytes
    ) -> None:
        # A socket that was closed meanwhile takes what lay in it along.
        if self.is_on and received is not None and received is self._received:
            received(way, address, datagram)


class Network:
    """All machines, and the links between them.

    Attributes:
        climate: how datagrams fare on most days.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, rng: random.Random) -> None:
        self.loop = loop
        self.climate = FAIR
        self._is_storm = False
        self._rng = rng
        self._machines: dict[str, SimNet] = {}
        self._cut: dict[Link, None] = {}

    def plug_in(self, name: NodeName, address: str) -> SimNet:
        """Return a new machine's card."""
        net = self._machines[address] = SimNet(self, name, address)
        return net

    def cut(self, links: Iterable[Link]) -> None:
        """Let nothing pass these links."""
        self._cut |= dict.fromkeys(links)

    def mend(self, links: Iterable[Link]) -> None:
        """Let these links carry again."""
        for link in links:
            self._cut.pop(link, None)

    def mend_all(self) -> None:
        """Let everything pass, at once."""
        self._cut.clear()
        self.climate = FAIR
        self.clear_up()

    def blow(self) -> None:
        """Begin a storm."""
        self._is_storm = True

    def clear_up(self) -> None:
        """End it."""
        self._is_storm = False

    def is_clear(self, one: NodeName, other: NodeName) -> bool:
        """Say whether packets pass both ways."""
        return (one, other) not in self._cut and (other, one) not in self._cut

    def carry(self, sender: SimNet, way: Way, address: str, datagram: bytes) -> None:
        """Bring a datagram to its machine, and an echo back."""
        target = self._machines.get(address)
        if target is None or (self._cut and not self._passes(sender, target)):
            return
        weather = STORM if self._is_storm else self.climate
        if weather is not FAIR:
            self._carry_in(weather, sender, target, way, datagram)
        elif way is Way.AGENT:
            target.deliver(way, sender.address, datagram)
        elif target.is_on and self._passes(target, sender):
            sender.deliver(way, address, datagram)

    def _carry_in(
        self, weather: Weather, sender: SimNet, target: SimNet, way: Way, datagram: bytes
    ) -> None:
        for _ in range(self._copies(weather)):
            delay_s = self._delay_s(weather)
            if way is Way.AGENT:
                target.deliver_in(delay_s, way, sender.address, datagram)
            elif target.is_on and self._passes(target, sender):
                delay_s += self._delay_s(weather)
                sender.deliver_in(delay_s, way, target.address, datagram)

    def _passes(self, sender: SimNet, target: SimNet) -> bool:
        return (sender.name, target.name) not in self._cut

    def _copies(self, weather: Weather) -> int:
        drawn = self._rng.random()
        if drawn < weather.lost:
            return 0
        return 2 if drawn > 1 - weather.doubled else 1

    def _delay_s(self, weather: Weather) -> float:
        return self._rng.random() * weather.delay_s_max
