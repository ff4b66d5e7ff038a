"""What follows from a subnet and an address: the node's bridge, and a container's link.

Pure. Which addresses there are to give is in shared.subnets.
"""

import ipaddress


def gateway_of(subnet: str) -> str:
    """Return the address of the node's bridge: the first one of its subnet."""
    return str(ipaddress.IPv4Network(subnet)[1])


def mac_of(address: str) -> str:
    """Return a link address for an IPv4 address: locally administered, and always the same."""
    return ":".join(f"{byte:02x}" for byte in b"\x02h" + ipaddress.IPv4Address(address).packed)
