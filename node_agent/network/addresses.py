"""Which address the next container gets, and what follows from an address.

Pure. Addresses are handed out round robin, so that one that was freed rests as long as possible: a
gateway elsewhere may still hold connections to its last user.
"""

import functools
import ipaddress
from collections.abc import Collection
from typing import Final

# After the network itself and its gateway.
_FIRST: Final = 2
# Of the largest cluster: each costs 10 us to find out, and all are asked for on every change.
_KNOWN_MAX: Final = 1 << 15


def gateway_of(subnet: str) -> str:
    """Return the address of the node's bridge: the first one of its subnet."""
    return str(ipaddress.IPv4Network(subnet)[1])


def mac_of(address: str) -> str:
    """Return a link address for an IPv4 address: locally administered, and always the same."""
    return ":".join(f"{byte:02x}" for byte in b"\x02h" + ipaddress.IPv4Address(address).packed)


@functools.lru_cache(_KNOWN_MAX)
def six_of(pool6: str, address: str) -> str:
    """Return the IPv6 address that goes with an IPv4 address; empty if the pool is."""
    if not pool6:
        return ""
    return str(ipaddress.IPv6Network(pool6)[int(ipaddress.IPv4Address(address))])


def six_net_of(pool6: str, subnet: str) -> str:
    """Return the IPv6 network that goes with an IPv4 one; empty if the pool is."""
    if not pool6:
        return ""
    network = ipaddress.IPv4Network(subnet)
    return f"{six_of(pool6, str(network[0]))}/{96 + network.prefixlen}"


def prefix_of(address: str) -> str:
    """Return the network of one address."""
    return f"{address}/{128 if ':' in address else 32}"


def capacity_of(subnet: str) -> int:
    """Return how many containers a subnet has addresses for."""
    return max(ipaddress.IPv4Network(subnet).num_addresses - 3, 0)


def is_container_of(subnet: str, address: str) -> bool:
    """Say whether an address can be a container's of this subnet."""
    network = ipaddress.IPv4Network(subnet)
    number = int(ipaddress.IPv4Address(address)) - int(network[0])
    return _FIRST <= number < _FIRST + capacity_of(subnet)


def pick(subnet: str, taken: Collection[str], last: str) -> str | None:
    """Return the first free address after `last`, going round; None when all are taken.

    Args:
        subnet: the node's subnet; network, gateway and broadcast addresses are never given.
        taken: addresses in use.
        last: the one given before; empty: begin at the start.
    """
    network = ipaddress.IPv4Network(subnet)
    count = capacity_of(subnet)
    first = int(network[0]) + _FIRST
    begin = 0
    if last and ipaddress.IPv4Address(last) in network:
        begin = int(ipaddress.IPv4Address(last)) - first + 1
    for step in range(count):
        address = str(ipaddress.IPv4Address(first + (begin + step) % count))
        if address not in taken:
            return address
    return None
