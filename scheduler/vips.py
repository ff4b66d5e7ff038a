"""Which service has which virtual address.

Pure. An address follows from the service's name, so that a leader that has lost everything gives
the same ones again, and stays as long as the service's routes have it.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b

from scheduler.world import ServiceId
from shared.model import EndpointMode, ServiceSpec
from shared.subnets import hosts_of, is_host_of, network_of, round_from


def wants_vip(spec: ServiceSpec) -> bool:
    """Say whether a service's name should lead to one address: it lasts, and others reach it."""
    is_lasting = not spec.mode.is_job
    return is_lasting and bool(spec.workload.networks) and spec.endpoint_mode is EndpointMode.VIP


def virtual_addresses(
    vips: str, wanted: Iterable[ServiceId], known: Iterable[tuple[ServiceId, str]]
) -> Mapping[ServiceId, str]:
    """Return the virtual address of each service; those that there is none for are left out.

    Args:
        vips: the network that all are of; empty: no service has one.
        wanted: the services that should have one.
        known: what routes have now; of two that have the same, the first one keeps it.
    """
    network, count = network_of(vips), hosts_of(vips)
    if network is None or count == 0:
        return {}
    first = int(network.network_address) + 1
    services = sorted(wanted)
    found: dict[ServiceId, str] = {}
    holders: dict[str, ServiceId] = {}
    asked = frozenset(services)
    for service, address in known:
        if service in asked and address not in holders and is_host_of(vips, address):
            found[service], holders[address] = address, service
    for service in services:
        if service not in found and len(found) < count:
            address = _free(first, count, service, holders)
            found[service], holders[address] = address, service
    return found


def _free(first: int, count: int, service: ServiceId, taken: Mapping[str, ServiceId]) -> str:
    """Return the first free address from the one that follows from the name on, going round."""
    digest = blake2b("\0".join(service).encode(), digest_size=8).digest()
    begin = int.from_bytes(digest, "big")
    return next(one for one in round_from(first, count, begin) if one not in taken)
