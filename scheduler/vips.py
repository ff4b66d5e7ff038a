"""Which service has which virtual address.

Pure. An address follows from the service's name, so that a leader that has lost everything gives
the same ones again, and stays as long as the service's routes have it.
"""

import ipaddress
from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Final

from scheduler.world import ServiceId
from shared.model import EndpointMode, ServiceSpec
from shared.subnets import network_of

# Its first and its last address are nobody's, as in every network.
_NOT_GIVEN: Final = 2


def wants_vip(spec: ServiceSpec) -> bool:
    """Say whether a service's name should lead to one address: it lasts, and others reach it."""
    is_lasting = not spec.mode.is_job
    return is_lasting and bool(spec.workload.networks) and spec.endpoint_mode is EndpointMode.VIP


def capacity_of(vips: str) -> int:
    """Return how many services can have a virtual address; 0: none has."""
    network = network_of(vips)
    return max(network.num_addresses - _NOT_GIVEN, 0) if network is not None else 0


def virtual_addresses(
    vips: str, wanted: Iterable[ServiceId], known: Iterable[tuple[ServiceId, str]]
) -> Mapping[ServiceId, str]:
    """Return the virtual address of each service; those that there is none for are left out.

    Args:
        vips: the network that all are of; empty: no service has one.
        wanted: the services that should have one.
        known: what routes have now; of two that have the same, the first one keeps it.
    """
    network, count = network_of(vips), capacity_of(vips)
    if network is None or count == 0:
        return {}
    services = sorted(wanted)
    found: dict[ServiceId, str] = {}
    holders: dict[str, ServiceId] = {}
    asked = frozenset(services)
    for service, address in known:
        if service in asked and address not in holders and _is_of(network, address):
            found[service], holders[address] = address, service
    for service in services:
        if service not in found and len(found) < count:
            address = _probe(network, count, service, holders)
            found[service], holders[address] = address, service
    return found


def _probe(
    network: ipaddress.IPv4Network, count: int, service: ServiceId, taken: Mapping[str, ServiceId]
) -> str:
    """Return the first free address from the one that follows from the name on, going round."""
    digest = blake2b("\0".join(service).encode(), digest_size=8).digest()
    begin, first = int.from_bytes(digest, "big"), int(network.network_address) + 1
    for step in range(count):
        address = str(ipaddress.IPv4Address(first + (begin + step) % count))
        if address not in taken:
            return address
    raise AssertionError("there are fewer services than addresses")


def _is_of(network: ipaddress.IPv4Network, address: str) -> bool:
    try:
        parsed = ipaddress.IPv4Address(address)
    except ValueError:
        return False
    return network.network_address < parsed < network.broadcast_address
