"""The network as peers use it; the simulation hands in its own.

Pure. Nothing but the shape; node_agent.peers.sockets is the one of the kernel.

A datagram may be lost, late, doubled, out of order, or from anybody: the deciding code counts on
nothing else, and an implementation need not promise more.
"""

import enum
from collections.abc import Callable
from typing import Protocol


class Way(enum.Enum):
    """The two ways to ask a node whether it is there."""

    AGENT = "udp"  # its agent is handed the datagram, and answers as it sees fit
    HOST = "icmp"  # its kernel sends the same datagram back, whoever runs there


# Told the way, the address that it came from, and the bytes.
Received = Callable[[Way, str, bytes], None]


class Net(Protocol):
    """One node's way to its peers.

    By Way.AGENT a datagram is given to the `received` of the node that has the address, with the
    sender's address. By Way.HOST it is an echo request: the same bytes come back to the sender's
    own `received`, with the address that they were sent to, as long as that machine runs and both
    directions work, whether or not an agent runs there.
    """

    def open(self, received: Received) -> None:
        """Begin to receive: `received` is called in the event loop and must not block.

        Raises:
            HostError: a right is missing, or the port is taken.
        """
        ...

    def send(self, way: Way, address: str, datagram: bytes) -> None:
        """Send and forget. What cannot be sent is lost, as it could be on its way."""
        ...

    def close(self) -> None:
        """Receive no more; fine if it was never opened."""
        ...
