"""What the agent tells the name server: one whole record in a file, replaced whole.

Pure.
"""

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from shared.model import (
    AllocationStatus,
    AllocId,
    Assignment,
    Manifest,
    Record,
    Revision,
    Routes,
    StackName,
)
from shared.subnets import Pools

# Where it is told, and what one that begins reads: names in the name server's folder.
SOCKET: Final = "names.sock"
SNAPSHOT: Final = "snapshot.json"


class Local(Record, frozen=True, kw_only=True):
    """A container of this node, which may ask.

    Attributes:
        addresses: all that it has.
        networks: those it is on.
        dns: servers that its service names in place of the node's.
    """

    addresses: tuple[str, ...]
    stack: StackName
    networks: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()


class Snapshot(Record, frozen=True, kw_only=True):
    """All that names are made of.

    Attributes:
        pool: what all nodes' containers have their addresses from; never asked of others.
        vips: the same of services' virtual addresses; empty: there are none.
        pool6: the same of IPv6, each of which ends with an IPv4 address; empty: there are none.
        routes: of every stack.
        containers: this node's.
    """

    pool: str = ""
    vips: str = ""
    pool6: str = ""
    routes: tuple[Routes, ...] = ()
    containers: tuple[Local, ...] = ()


def snapshot_of(
    pools: Pools,
    routes: Mapping[StackName, tuple[Revision, Routes]],
    containers: tuple[Local, ...],
) -> Snapshot:
    """Return what names say on this node.

    Args:
        pools: what the cluster's own addresses are from.
        routes: per stack, with their mod_revision.
        containers: this node's.
    """
    return Snapshot(
        pool=pools.pool,
        vips=pools.vips,
        pool6=pools.pool6,
        routes=tuple(each for _, (_, each) in sorted(routes.items())),
        containers=containers,
    )


def containers_of(
    manifest: Manifest | None, statuses: Iterable[AllocationStatus]
) -> tuple[Local, ...]:
    """Return this node's containers, which may ask.

    Args:
        manifest: what this node should run; None: nobody said.
        statuses: what it runs, for the addresses that containers have.
    """
    found: dict[AllocId, str] = {status.id: status.address for status in statuses}
    assignments = manifest.assignments if manifest is not None else ()
    locals_ = (_local(each, found.get(each.id, "")) for each in assignments)
    return tuple(each for each in locals_ if each.addresses)


def _local(assignment: Assignment, address: str) -> Local:
    workload = assignment.workload
    fixed = tuple(joined.address for joined in workload.networks)
    own = () if workload.network_mode else (address or assignment.address, *fixed)
    return Local(
        addresses=tuple(dict.fromkeys(each for each in own if each)),
        stack=assignment.stack,
        networks=tuple(joined.network for joined in workload.networks),
        dns=workload.naming.dns,
    )


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """What the name server says of itself when it is asked.

    Attributes:
        build: which code it runs.
        serves: it has its address, and has it alone.
        told: the digest of the snapshot that its answers are from; empty: it has none.
        problems: what it cannot do, one sentence each.
        counts: answers and refusals since it began, by kind.
    """

    build: str
    serves: bool = False
    told: str = ""
    problems: tuple[str, ...] = ()
    counts: Mapping[str, int] = {}
