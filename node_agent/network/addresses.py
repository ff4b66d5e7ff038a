"""What follows from an address or a subnet: a container's link, and what IPv6 it has.

Pure. Which addresses there are to give, and whose the first is, is in shared.subnets.
"""

import functools
import ipaddress
from typing import Final

# Of the largest cluster: each costs 10 us to find out, and all are asked for on every change.
_KNOWN_MAX: Final = 1 << 15


def mac_of(address: str) -> str:
    """Return a link address for an IPv4 address: locally administered, and always the same."""
    return ":".join(f"{byte:02x}" for byte in b"\x02h" + ipaddress.IPv4Address(address).packed)


@functools.lru_cache(_KNOWN_MAX)
def six_of(pool6: str, address: str) -> str:
    """Return the IPv6 address that goes with an IPv4 address; empty if the pool is."""
    if not pool6:
        return ""
    return str(ipaddress.IPv6Network(pool6)[int(ipaddress.IPv4Address(address))])


@functools.lru_cache(_KNOWN_MAX)
def six_in(pool6: str, pool: str, address: str) -> str:
    """Return the IPv6 address that goes with a container's IPv4 one; empty: it has none.

    A program on its node's own network has an address that is not of `pool`.
    """
    if not pool or ipaddress.IPv4Address(address) not in ipaddress.IPv4Network(pool):
        return ""
    return six_of(pool6, address)


def six_net_of(pool6: str, subnet: str) -> str:
    """Return the IPv6 network that goes with an IPv4 one; empty if the pool is."""
    if not pool6:
        return ""
    network = ipaddress.IPv4Network(subnet)
    return f"{six_of(pool6, str(network[0]))}/{96 + network.prefixlen}"


def prefix_of(address: str) -> str:
    """Return the network of one address."""
    return f"{address}/{128 if ':' in address else 32}"
