"""Which addresses a subnet has, and which of them comes next.

Pure. The leader chooses containers' addresses and a node checks them: both count alike. The first
address of a node's subnet is its bridge's; network and broadcast addresses are nobody's.
"""

import ipaddress
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from typing import Final

import msgspec

# In every network the first and the last.
_NOBODYS: Final = 2
# Network, bridge, broadcast.
_NOT_GIVEN: Final = 3
_FIRST: Final = 2
# The addresses of some hundred nodes, and as many of what comes and goes.
_PARSED_MAX: Final = 100_000


class Pools(msgspec.Struct, frozen=True, kw_only=True):
    """What a cluster's addresses are cut from; empty: there is no such network.

    Attributes:
        pool: the nodes' subnets.
        vips: services' virtual addresses.
        pool6: IPv6 addresses that end with an IPv4 one.
    """

    pool: str = ""
    vips: str = ""
    pool6: str = ""


def gateway_of(subnet: str) -> str:
    """Return the address of the node's bridge: the first one of its subnet."""
    return str(ipaddress.IPv4Network(subnet)[1])


def hosts_of(network: str) -> int:
    """Return how many addresses a network has that may be somebody's; 0 if it is no IPv4 one."""
    parsed = network_of(network)
    return max(parsed.num_addresses - _NOBODYS, 0) if parsed is not None else 0


def is_host_of(network: str, address: str) -> bool:
    """Say whether an address is among those of a network that may be somebody's."""
    parsed, number = network_of(network), _number(address)
    if parsed is None or number is None:
        return False
    return 0 < number - int(parsed.network_address) < parsed.num_addresses - 1


def round_from(first: int, count: int, begin: int) -> Iterator[str]:
    """Yield `count` addresses from `first` on, all once, beginning with number `begin` of them."""
    for step in range(count):
        yield str(ipaddress.IPv4Address(first + (begin + step) % count))


def capacity_of(subnet: str) -> int:
    """Return how many containers a subnet has addresses for; 0 if it is no IPv4 network."""
    network = network_of(subnet)
    return max(network.num_addresses - _NOT_GIVEN, 0) if network is not None else 0


def pick(subnet: str, taken: Collection[str], last: str) -> str | None:
    """Return the first free address after `last`, going round; None when all are taken.

    An address that was freed so rests as long as possible: somebody elsewhere may still hold
    connections to its last user.

    Args:
        subnet: the node's subnet.
        taken: addresses in use.
        last: the one given before; empty: begin at the start.
    """
    network, count = network_of(subnet), capacity_of(subnet)
    if network is None:
        return None
    first = int(network[0]) + _FIRST
    number = _number(last)
    begin = number - first + 1 if number is not None and _is_given(network, number) else 0
    return next((one for one in round_from(first, count, begin) if one not in taken), None)


def is_container_of(subnet: str, address: str) -> bool:
    """Say whether an address is among those that a subnet has for containers."""
    network, number = network_of(subnet), _number(address)
    return network is not None and number is not None and _is_given(network, number)


def taken_of(subnet: str, addresses: Iterable[str]) -> int:
    """Return how many of `addresses` are among those that a subnet has for containers."""
    return sum(is_container_of(subnet, address) for address in addresses)


@lru_cache(maxsize=_PARSED_MAX)
def network_of(subnet: str) -> ipaddress.IPv4Network | None:
    """Return a network; None if that is none."""
    try:
        return ipaddress.IPv4Network(subnet)
    except ValueError:
        return None


def is_address(text: str) -> bool:
    """Say whether `text` is an IPv4 address."""
    return _number(text) is not None


def _is_given(network: ipaddress.IPv4Network, number: int) -> bool:
    first = int(network.network_address) + _FIRST
    return first <= number < first + network.num_addresses - _NOT_GIVEN


@lru_cache(maxsize=_PARSED_MAX)
def _number(address: str) -> int | None:
    try:
        return int(ipaddress.IPv4Address(address))
    except ValueError:
        return None
