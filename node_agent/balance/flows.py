"""Which of the connections that the kernel remembers lead to an endpoint that is gone.

Pure. A remembered connection goes where its first packet went: whatever the table says by now.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from node_agent.balance.table import Found

TCP: Final = 6
UDP: Final = 17
_NUMBERS: Final[Mapping[str, int]] = {"tcp": TCP, "udp": UDP}
# linux/netfilter/nf_conntrack_tcp.h: states in which a client believes that it is connected, and
# waits for something: established, FIN_WAIT, CLOSE_WAIT.
_OPEN: Final = frozenset({3, 4, 5})


class Entrance(msgspec.Struct, frozen=True, kw_only=True):
    """Where traffic to a service comes in: its virtual address, or a port of the node's own."""

    address: str = ""
    protocol: str = ""
    port: int = 0

    @property
    def number(self) -> int:
        """Return the protocol's number; 0: any."""
        return _NUMBERS.get(self.protocol, 0)


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """Where connections of an entrance may lead.

    Attributes:
        listed: endpoints that are there: what is open with them stays open.
        served: those of them that are sent something: datagrams go nowhere else.
    """

    listed: frozenset[str] = frozenset()
    served: frozenset[str] = frozenset()


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """One remembered connection.

    Attributes:
        source, source_port: the client.
        to, to_port: what the client addressed.
        reply_source: who answers it.
        state: of TCP, the kernel's number for it.
        key: what names it to the kernel.
    """

    protocol: int
    source: str
    source_port: int = 0
    to: str
    to_port: int = 0
    reply_source: str
    state: int = 0
    key: bytes = b""

    @property
    def is_open(self) -> bool:
        """Say whether its client waits for an answer that will never come."""
        return self.protocol == TCP and self.state in _OPEN


def suspects(
    before: Mapping[Entrance, Reach | None], after: Mapping[Entrance, Reach]
) -> Mapping[Entrance, Reach]:
    """Return the entrances some of whose connections may lead nowhere now, and where they may.

    Args:
        before: where they were allowed to lead; None: nobody knows.
        after: where they may lead now.
    """
    found = {entrance: Reach() for entrance in before.keys() - after.keys()}
    for entrance, reach in after.items():
        had = before.get(entrance)
        if had is None or had.listed - reach.listed or had.served - reach.served:
            found[entrance] = reach
    return found


def entrances(found: Found) -> frozenset[Entrance]:
    """Return the entrances that the kernel has."""
    ports = (key.partition(" . ") for key in found.maps.get("ports", {}))
    return frozenset(
        (
            *(Entrance(address=address) for address in found.maps.get("vips", {})),
            *(Entrance(protocol=protocol, port=int(port)) for protocol, _, port in ports),
        )
    )


def stale(
    flows: Iterable[Flow], reaches: Mapping[Entrance, Reach], own: frozenset[str]
) -> tuple[Flow, ...]:
    """Return the connections to forget.

    Args:
        flows: any; others than those of `reaches` are left alone.
        reaches: by entrance, where its connections may lead.
        own: the node's addresses.
    """
    vips = {each.address: reach for each, reach in reaches.items() if each.address}
    ports = {(each.number, each.port): reach for each, reach in reaches.items() if not each.address}
    return tuple(flow for flow in flows if _is_stale(flow, vips, ports, own))


def _is_stale(
    flow: Flow,
    vips: Mapping[str, Reach],
    ports: Mapping[tuple[int, int], Reach],
    own: frozenset[str],
) -> bool:
    reach = vips.get(flow.to)
    if reach is None:
        reach = ports.get((flow.protocol, flow.to_port))
        if reach is None or flow.to not in own:
            return False
        # A connection with a program of this host, from before the port was published.
        if flow.protocol == TCP and flow.reply_source == flow.to:
            return False
    return flow.reply_source not in (reach.listed if flow.protocol == TCP else reach.served)
