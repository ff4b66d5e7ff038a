"""Whether a node can take a slot: what it has left, what the slot needs, and what is in the way.

Pure. A refusal says what is lacking, with numbers.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from shared.labels import label_of
from shared.model import (
    DOCUMENT_BYTES_MAX,
    Constraint,
    NodeName,
    NodeSpec,
    Placement,
    Resources,
)
from shared.ports import Port
from shared.subnets import capacity_of

ServiceKey = tuple[str, str]  # stack, service
MIB: Final = 1024 * 1024


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A node that may take work.

    Attributes:
        free: what no assignment has reserved yet; may be negative after a node shrank.
        document_bytes: the size of its manifest.
        replicas: per service, the allocations it already has.
        images: those that need no download.
        addresses: how many are left of its subnet for new containers; None: they are not counted.
        ports: those of the node itself that are taken, and by whom, such as shop.dns.1.
        closed: why it takes nothing new at all; empty: it does.
    """

    spec: NodeSpec
    capacity: Resources
    free: Resources
    document_bytes: int = 0
    replicas: Mapping[ServiceKey, int] = {}
    images: frozenset[str] = frozenset()
    addresses: int | None = None
    ports: Mapping[Port, str] = {}
    closed: str = ""

    @property
    def name(self) -> NodeName:
        """Return the node's name."""
        return self.spec.name

    @property
    def load(self) -> int:
        """Return the number of allocations it has."""
        return sum(self.replicas.values())


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One slot that needs a node.

    Attributes:
        slot: 0 for a standby.
        document_bytes: what its assignment adds to the node's manifest.
        avoid: nodes where this slot failed: taken only if no other fits.
        barred: nodes that have a replica or a standby of it already, where it may have no second.
        node: the only one that is taken; None: any.
        volumes: whose data must be there; those that are nowhere yet come to be where it goes.
        leaving: by node, the copies that an update replaces: they count for less, so that it leaves
            the service as spread as it was.
        blocked: why it can be nowhere now; empty: nodes decide.
        image: what should be there already because users wait; empty: nobody waits, and spreading
            evenly matters more than saving a download.
        needs_address: it has a network of its own.
        ports: of the node itself, that it takes.
    """

    service: ServiceKey
    slot: int
    needs: Resources
    document_bytes: int = 0
    placement: Placement = Placement()
    avoid: frozenset[NodeName] = frozenset()
    barred: frozenset[NodeName] = frozenset()
    node: NodeName | None = None
    volumes: tuple[str, ...] = ()
    leaving: Mapping[NodeName, int] = {}
    blocked: str = ""
    image: str = ""
    needs_address: bool = False
    ports: tuple[Port, ...] = ()


def refuse(node: Candidate, request: Request) -> str | None:
    """Return why `node` cannot take the slot, or None if it can."""
    for check in _FILTERS:
        why = check(node, request)
        if why is not None:
            return why
    return None


def _open(node: Candidate, _request: Request) -> str | None:
    return node.closed or None


def _only(node: Candidate, request: Request) -> str | None:
    if request.node in {None, node.name}:
        return None
    return f"this one is for {request.node}"


def _barred(node: Candidate, request: Request) -> str | None:
    return "has a copy of it already" if node.name in request.barred else None


def _labels(node: Candidate, request: Request) -> str | None:
    for constraint in request.placement.constraints:
        value = label_of(node.spec, constraint.key)
        if (value == constraint.value) != constraint.equal:
            return _mismatch(constraint, value)
    return None


def _mismatch(constraint: Constraint, value: str | None) -> str:
    sign = "==" if constraint.equal else "!="
    found = "it has no such label" if value is None else f"it is {value}"
    return f"{constraint.key} {sign} {constraint.value} is asked for, {found}"


def _per_node(node: Candidate, request: Request) -> str | None:
    limit, here = request.placement.max_replicas_per_node, node.replicas.get(request.service, 0)
    if limit and here >= limit:
        return f"has {here} replicas, at most {limit} per node are allowed"
    return None


def _cpu(node: Candidate, request: Request) -> str | None:
    needs, free = request.needs.cpu_millis, node.free.cpu_millis
    if needs > max(free, 0):
        total = node.capacity.cpu_millis
        return f"cpu: needs {needs / 1000:g}, has {free / 1000:g} free of {total / 1000:g}"
    return None


def _memory(node: Candidate, request: Request) -> str | None:
    needs, free = request.needs.memory_bytes, node.free.memory_bytes
    if needs > max(free, 0):
        total = node.capacity.memory_bytes
        return (
            f"memory: needs {needs / MIB:.0f} MiB,"
            f" has {free / MIB:.0f} MiB free of {total / MIB:.0f} MiB"
        )
    return None


def _document(node: Candidate, request: Request) -> str | None:
    needs, free = request.document_bytes, DOCUMENT_BYTES_MAX - node.document_bytes
    if needs > free:
        return f"manifest: needs {needs} bytes, has {free} free of {DOCUMENT_BYTES_MAX}"
    return None


def _devices(node: Candidate, request: Request) -> str | None:
    for kind, needs in sorted(request.needs.devices.items()):
        free, total = node.free.devices.get(kind, 0), node.capacity.devices.get(kind, 0)
        if needs > max(free, 0):
            return f"{kind}: needs {needs}, has {free} free of {total}"
    return None


def _addresses(node: Candidate, request: Request) -> str | None:
    if not request.needs_address or node.addresses is None or node.addresses > 0:
        return None
    subnet = node.spec.subnet
    capacity = capacity_of(subnet)
    if not capacity:
        return f"addresses: its subnet {subnet} has none for containers"
    return f"addresses: all {capacity} of {subnet} are taken"


def _ports(node: Candidate, request: Request) -> str | None:
    for port in request.ports:
        if port in node.ports:
            number, transport = port
            return f"port {number}/{transport} of this node is taken by {node.ports[port]}"
    return None


_FILTERS: Final[tuple[Callable[[Candidate, Request], str | None], ...]] = (
    _only,
    _open,
    _labels,
    _barred,
    _per_node,
    _ports,
    _cpu,
    _memory,
    _devices,
    _addresses,
    _document,
)


def total(parts: Iterable[Resources]) -> Resources:
    """Return the sum, dimension by dimension."""
    cpu_millis = memory_bytes = pids = 0
    devices: Counter[str] = Counter()
    for part in parts:
        cpu_millis += part.cpu_millis
        memory_bytes += part.memory_bytes
        pids += part.pids
        if part.devices:
            devices.update(part.devices)
    return Resources(
        cpu_millis=cpu_millis,
        memory_bytes=memory_bytes,
        pids=pids,
        devices=dict(sorted(devices.items())),
    )


def minus(left: Resources, right: Resources) -> Resources:
    """Return left - right, dimension by dimension."""
    return Resources(
        cpu_millis=left.cpu_millis - right.cpu_millis,
        memory_bytes=left.memory_bytes - right.memory_bytes,
        pids=left.pids - right.pids,
        devices={
            kind: left.devices.get(kind, 0) - right.devices.get(kind, 0)
            for kind in sorted(left.devices.keys() | right.devices.keys())
        },
    )
