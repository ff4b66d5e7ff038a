"""Which address the next container gets.

Pure. Addresses are handed out round robin, so that one that was freed rests as long as possible: a
gateway elsewhere may still hold connections to its last user.
"""

import ipaddress
from collections.abc import Collection


def gateway_of(subnet: str) -> str:
    """Return the address of the node's bridge: the first one of its subnet."""
    return str(ipaddress.IPv4Network(subnet)[1])


def mac_of(address: str) -> str:
    """Return a link address for an IPv4 address: locally administered, and always the same."""
    return ":".join(f"{byte:02x}" for byte in b"\x02h" + ipaddress.IPv4Address(address).packed)


def capacity_of(subnet: str) -> int:
    """Return how many containers a subnet has addresses for."""
    return max(ipaddress.IPv4Network(subnet).num_addresses - 3, 0)


def pick(subnet: str, taken: Collection[str], last: str) -> str | None:
    """Return the first free address after `last`, going round; None when all are taken.

    Args:
        subnet: the node's subnet; network, gateway and broadcast addresses are never given.
        taken: addresses in use.
        last: the one given before; empty: begin at the start.
    """
    network = ipaddress.IPv4Network(subnet)
    count = capacity_of(subnet)
    first = int(network[0]) + 2
    begin = 0
    if last and ipaddress.IPv4Address(last) in network:
        begin = int(ipaddress.IPv4Address(last)) - first + 1
    for step in range(count):
        address = str(ipaddress.IPv4Address(first + (begin + step) % count))
        if address not in taken:
            return address
    return None
