"""The way to the peers over the kernel: implements node_agent.peers.net.Net."""

from functools import partial

from node_agent.peers.icmp import Echo
from node_agent.peers.net import Received, Way
from node_agent.peers.udp import UdpPort


class SocketNet:
    """Bound to the node's own address, so that peers know the answers for those of this node."""

    def __init__(self, address: str, port: int) -> None:
        self._port, self._echo = UdpPort(address, port), Echo(address)

    def open(self, received: Received) -> None:
        """Begin to receive.

        Raises:
            HostError: a right is missing, the port is taken, or the address is not this host's.
        """
        self._port.open(partial(received, Way.AGENT))
        try:
            self._echo.open(partial(received, Way.HOST))
        except BaseException:
            self._port.close()
            raise

    def send(self, way: Way, address: str, datagram: bytes) -> None:
        """Send and forget."""
        if way is Way.AGENT:
            self._port.send(address, datagram)
        else:
            self._echo.send(address, datagram)

    def close(self) -> None:
        """Receive no more."""
        self._port.close()
        self._echo.close()
