"""Builders of what name servers are told and asked."""

from collections.abc import Iterable, Sequence

import dns.message

from node_agent.names.snapshot import Local, Snapshot
from node_agent.names.table import Table
from shared.model import (
    AllocId,
    Endpoint,
    EndpointState,
    Joined,
    Network,
    NodeName,
    Routes,
    ServiceName,
    ServiceRoutes,
    StackName,
)
from shared.subnets import Pools

POOL = "198.19.0.0/16"
VIPS = "198.18.200.0/24"
POOL6 = "fd00:68::/96"
POOLS = Pools(pool=POOL, vips=VIPS, pool6=POOL6)
OWN = "198.19.1.1"


def replica(
    id_: str,
    address: str,
    state: EndpointState = EndpointState.READY,
    networks: tuple[str, ...] | None = None,
    addresses: tuple[str, ...] = (),
) -> Endpoint:
    return Endpoint(
        allocation=AllocId(id_),
        node=NodeName("node-1"),
        address=address,
        state=state,
        slot=int(id_.split(".")[2]),
        networks=networks,
        addresses=addresses,
    )


def joined(*names: str) -> tuple[Joined, ...]:
    """Return networks; "net:a,b" gives the service the aliases a and b there."""
    found = []
    for name in names:
        network, _, aliases = name.partition(":")
        found.append(Joined(network=network, aliases=tuple(aliases.split(",")) if aliases else ()))
    return tuple(found)


def service(
    name: str,
    *endpoints: Endpoint,
    on: Sequence[str] = ("shop_default",),
    vip: str = "",
    replicas: int = 1,
) -> ServiceRoutes:
    return ServiceRoutes(
        service=ServiceName(name),
        ports=(),
        endpoints=endpoints,
        networks=joined(*on),
        vip=vip,
        replicas=replicas,
    )


def routes(stack: str, *services: ServiceRoutes, networks: Iterable[Network] = ()) -> Routes:
    return Routes(stack=StackName(stack), services=services, networks=tuple(networks))


def local(address: str, *networks: str, stack: str = "shop", dns: tuple[str, ...] = ()) -> Local:
    return Local(addresses=(address,), stack=StackName(stack), networks=networks, dns=dns)


def snapshot(*stacks: Routes, containers: Iterable[Local] = ()) -> Snapshot:
    return Snapshot(pool=POOL, vips=VIPS, pool6=POOL6, routes=stacks, containers=tuple(containers))


def table(*stacks: Routes, containers: Iterable[Local] = ()) -> Table:
    return Table(snapshot(*stacks, containers=containers), OWN)


def question(name: str, rdtype: str = "A", *, payload: int = 0) -> bytes:
    query = dns.message.make_query(
        name, rdtype, use_edns=0 if payload else False, payload=payload or 1232
    )
    return query.to_wire()
