"""Ports of nodes: which ones a container takes.

Pure. A port is a number of one transport: 53/tcp and 53/udp are two. Through a port of a node
itself (`is_host`) only that node's replica answers, so a node has room for one.
"""

from shared.model import Protocol, PublishedPort, Workload

Port = tuple[int, str]  # number, transport


def port_of(port: PublishedPort) -> Port:
    """Return the number and the transport of a published port."""
    return port.published, "udp" if port.protocol is Protocol.UDP else "tcp"


def host_ports(workload: Workload) -> tuple[Port, ...]:
    """Return the ports of its node that a container takes, sorted."""
    return tuple(sorted({port_of(port) for port in workload.ports if port.is_host}))
