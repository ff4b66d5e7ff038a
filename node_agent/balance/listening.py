"""Which ports programs of the host listen on: the kernel must not take their traffic away.

Pure.
"""

import ipaddress
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from node_agent.balance.family import Family

# Files of /proc/net, and the state (net/tcp_states.h) of a TCP socket that listens, of a UDP socket
# that is connected to nobody.
FILES: Final[Mapping[str, str]] = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}


def listening(tables: Mapping[str, str], family: Family) -> frozenset[str]:
    """Return "udp . 53" for each port that something listens on where published ports are.

    On loopback and on the containers' side of the node are none.

    Args:
        tables: the contents of `FILES`, those that the kernel has.
        family: whose published ports.
    """
    return frozenset(
        f"{name.removesuffix('6')} . {port}"
        for name, text in tables.items()
        for port in _ports_in(text.splitlines(), FILES[name], family)
    )


def _ports_in(lines: Iterable[str], state: str, family: Family) -> Iterator[int]:
    for line in lines:
        fields = line.split()
        if len(fields) > 3 and fields[3] == state and ":" in fields[1]:  # noqa: PLR2004
            address, _, port = fields[1].partition(":")
            if _counts(address, family):
                yield int(port, 16)


def _counts(address: str, family: Family) -> bool:
    """Say whether what is sent to a published port could be meant for it.

    What listens at every IPv6 address mostly hears IPv4 as well; whether it does, nobody can see.
    """
    # Words of 32 bits, each in the machine's order.
    words = [address[at : at + 8] for at in range(0, len(address), 8)]
    found = ipaddress.ip_address(
        b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    )
    if isinstance(found, ipaddress.IPv6Address):
        if found == ipaddress.IPv6Address("::"):
            return True
        found = found.ipv4_mapped or found
    return found.version == (6 if family.pool6 else 4) and not family.is_aside(found)
