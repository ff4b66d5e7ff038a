"""Which of the connections that the kernel remembers lead to an endpoint that is gone, or drains.

Pure. A remembered connection goes where its first packet went: whatever the table says by now.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final

import msgspec

from node_agent.balance.table import Found
from shared.model import AllocId

TCP: Final = 6
UDP: Final = 17
_NUMBERS: Final[Mapping[str, int]] = {"tcp": TCP, "udp": UDP}
# linux/netfilter/nf_conntrack_tcp.h: states in which a client believes that it is connected, and
# may wait for something: established, FIN_WAIT, CLOSE_WAIT.
ESTABLISHED: Final = 3
_OPEN: Final = frozenset({ESTABLISHED, 4, 5})
# Nobody knows what is asked on a connection that the kernel carries. One that was silent for so
# long is held for one that its client keeps for later: only its server can end it. The kernel
# counts whole seconds.
QUIET_S: Final = 3


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


# By entrance, the endpoints that drain: their addresses, and whose they are.
Draining = Mapping[Entrance, tuple[tuple[str, AllocId], ...]]


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """One remembered connection.

    Attributes:
        source, source_port: the client.
        to, to_port: what the client addressed.
        reply_source: who answers it.
        state: of TCP, the kernel's number for it.
        left_s: until the kernel forgets it if no more packet comes.
        key: what names it to the kernel.
    """

    protocol: int
    source: str
    source_port: int = 0
    to: str
    to_port: int = 0
    reply_source: str
    state: int = 0
    left_s: int = 0
    key: bytes = b""

    @property
    def is_open(self) -> bool:
        """Say whether its client may wait for an answer; of datagrams, nobody knows."""
        return self.protocol == TCP and self.state in _OPEN

    def is_quiet(self, memory: "Memory") -> bool:
        """Say whether it is established and was silent for `QUIET_S`, with nothing in flight."""
        return (
            self.state == ESTABLISHED
            and memory.unacknowledged_s < self.left_s <= memory.established_s - QUIET_S
        )


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """How long the kernel remembers a TCP connection without packets, in seconds.

    Attributes:
        unacknowledged_s: while one end has not acknowledged what the other has sent.
    """

    established_s: int
    unacknowledged_s: int


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
    found = _by_entrance(flows, reaches, own)
    return tuple(flow for entrance, flow in found if _is_stale(flow, entrance, reaches[entrance]))


def busy(
    flows: Iterable[Flow], draining: Draining, own: frozenset[str], memory: Memory
) -> frozenset[AllocId]:
    """Return the draining allocations that open connections lead to on which something happens.

    Args:
        flows: any; others than those of `draining` are left out.
        draining: which ones.
        own: the node's addresses.
        memory: the kernel's.
    """
    return frozenset(
        id_
        for entrance, flow in _by_entrance(flows, draining, own)
        if flow.is_open and not flow.is_quiet(memory)
        for address, id_ in draining[entrance]
        if address == flow.reply_source
    )


def _by_entrance(
    flows: Iterable[Flow], entrances_: Collection[Entrance], own: frozenset[str]
) -> Iterator[tuple[Entrance, Flow]]:
    """Yield the connections that came in at one of `entrances_`, with it."""
    vips = {each.address: each for each in entrances_ if each.address}
    ports = {(each.number, each.port): each for each in entrances_ if not each.address}
    for flow in flows:
        entrance = vips.get(flow.to)
        if entrance is None and flow.to in own:
            entrance = ports.get((flow.protocol, flow.to_port))
        if entrance is not None:
            yield entrance, flow


def _is_stale(flow: Flow, entrance: Entrance, reach: Reach) -> bool:
    if flow.protocol != TCP:
        return flow.reply_source not in reach.served
    # A connection with a program of this host, from before the port was published.
    is_the_hosts = not entrance.address and flow.reply_source == flow.to
    return not is_the_hosts and flow.reply_source not in reach.listed
