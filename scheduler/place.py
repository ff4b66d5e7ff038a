"""Which node takes which slot.

Filter, score, bind; a refusal says which node lacks what, with numbers.

Pure, total and deterministic. Slots are placed one after the other on a ledger of what is free, so
that a placement sees the ones before it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from shared.model import (
    DOCUMENT_BYTES_MAX,
    Constraint,
    NodeName,
    NodeSpec,
    Placement,
    Resources,
)

ServiceKey = tuple[str, str]  # stack, service


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A node that may take work.

    Attributes:
        free: what no assignment has reserved yet; may be negative after a node shrank.
        document_bytes: the size of its manifest.
        replicas: per service, the allocations it already has.
        images: those that need no download.
        closed: why it takes nothing new at all; empty: it does.
    """

    spec: NodeSpec
    capacity: Resources
    free: Resources
    document_bytes: int = 0
    replicas: Mapping[ServiceKey, int] = {}
    images: frozenset[str] = frozenset()
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
        image: what should be there already because users wait; empty: nobody waits, and spreading
            evenly matters more than saving a download.
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
    image: str = ""


class Refusal(msgspec.Struct, frozen=True):
    """Why one node cannot take a slot, such as "memory: needs 512 MiB, has 100 MiB free"."""

    node: NodeName
    why: str


class Bound(msgspec.Struct, frozen=True):
    """A slot that has its node."""

    request: Request
    node: NodeName


class Unplaceable(msgspec.Struct, frozen=True):
    """A slot that no node takes, with each node's refusal."""

    request: Request
    refusals: tuple[Refusal, ...]

    @property
    def reason(self) -> str:
        """Return one sentence for people."""
        if not self.refusals:
            return "no node is ready"
        each = "; ".join(f"{refusal.node}: {refusal.why}" for refusal in self.refusals[:_SHOWN_MAX])
        more = len(self.refusals) - _SHOWN_MAX
        return f"no node fits: {each}" + (f"; and {more} more" if more > 0 else "")


# A sentence about more nodes than this is not read.
_SHOWN_MAX: Final = 5
MIB: Final = 1024 * 1024


def place(
    candidates: Iterable[Candidate],
    requests: Iterable[Request],
    volumes: Mapping[str, NodeName] | None = None,
) -> tuple[Bound | Unplaceable, ...]:
    """Return a decision for every request, the most constrained first.

    No node is given more than it has: every reservation is counted before the next slot is placed.

    Args:
        candidates: the nodes.
        requests: the slots.
        volumes: which node has the data of each volume.
    """
    ledger = {candidate.name: candidate for candidate in candidates}
    homes = dict(volumes or {})
    decided: list[Bound | Unplaceable] = []
    for request in sorted(requests, key=_most_constrained_first):
        decision = _place_one(list(ledger.values()), request, homes)
        if isinstance(decision, Bound):
            ledger[decision.node] = _take(ledger[decision.node], request)
            homes |= dict.fromkeys(request.volumes, decision.node)
        decided.append(decision)
    return tuple(decided)


def _most_constrained_first(request: Request) -> tuple[bool, int, int, int, ServiceKey, int]:
    return (
        request.node is None and not request.volumes,
        -len(request.placement.constraints),
        -request.needs.memory_bytes,
        -request.needs.cpu_millis,
        request.service,
        request.slot,
    )


def _place_one(
    nodes: Sequence[Candidate], request: Request, homes: Mapping[str, NodeName]
) -> Bound | Unplaceable:
    refusals: list[Refusal] = []
    feasible: list[Candidate] = []
    names = {node.name for node in nodes}
    away = {homes[volume] for volume in request.volumes if volume in homes} - names
    refusals += [
        Refusal(home, "has the data of its volume, and takes nothing now") for home in sorted(away)
    ]
    for node in nodes:
        why = _elsewhere(node, request, homes) or refuse(node, request)
        if why is None:
            feasible.append(node)
        else:
            refusals.append(Refusal(node.name, why))
    if not feasible:
        return Unplaceable(request, tuple(refusals))
    crowding = _crowding(nodes, request)
    best = min(feasible, key=lambda node: _score(node, request, crowding))
    return Bound(request, best.name)


def _take(node: Candidate, request: Request) -> Candidate:
    replicas = dict(node.replicas)
    replicas[request.service] = replicas.get(request.service, 0) + 1
    return msgspec.structs.replace(
        node,
        free=minus(node.free, request.needs),
        document_bytes=node.document_bytes + request.document_bytes,
        replicas=replicas,
    )


# ---------------------------------------------------------------- filters


def refuse(node: Candidate, request: Request) -> str | None:
    """Return why `node` cannot take the slot, or None if it can."""
    for check in _FILTERS:
        why = check(node, request)
        if why is not None:
            return why
    return None


def _open(node: Candidate, _request: Request) -> str | None:
    return node.closed or None


def _elsewhere(node: Candidate, request: Request, homes: Mapping[str, NodeName]) -> str | None:
    for volume in request.volumes:
        home = homes.get(volume, node.name)
        if home != node.name:
            return f"the data of volume {volume} is on {home}"
    return None


def _only(node: Candidate, request: Request) -> str | None:
    if request.node in {None, node.name}:
        return None
    return f"this one is for {request.node}"


def _barred(node: Candidate, request: Request) -> str | None:
    return "has a copy of it already" if node.name in request.barred else None


def meets(spec: NodeSpec, constraints: Iterable[Constraint]) -> bool:
    """Say whether a node's labels are what all the constraints ask for."""
    return all((label_of(spec, one.key) == one.value) == one.equal for one in constraints)


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


_FILTERS: Final[tuple[Callable[[Candidate, Request], str | None], ...]] = (
    _only,
    _open,
    _labels,
    _barred,
    _per_node,
    _cpu,
    _memory,
    _devices,
    _document,
)


def label_of(spec: NodeSpec, key: str) -> str | None:
    """Return what a constraint's or preference's key names on a node.

    None if it has no such label.
    """
    if key in {"node.hostname", "node.id"}:
        return spec.name
    return spec.labels.get(key.removeprefix("node.labels."))


# ---------------------------------------------------------------- scores

Crowding = Mapping[str, Mapping[str | None, int]]  # spread label -> value -> replicas


def _crowding(nodes: Sequence[Candidate], request: Request) -> Crowding:
    crowds: dict[str, dict[str | None, int]] = {}
    for key in request.placement.spread:
        crowd = crowds.setdefault(key, {})
        for node in nodes:
            value = label_of(node.spec, key)
            crowd[value] = crowd.get(value, 0) + _staying(node, request)
    return crowds


def _staying(node: Candidate, request: Request) -> int:
    """Return how many copies of the service a node has that nothing is about to replace."""
    here = node.replicas.get(request.service, 0)
    return max(here - request.leaving.get(node.name, 0), 0)


def _score(
    node: Candidate, request: Request, crowding: Crowding
) -> tuple[bool, tuple[int, ...], int, int, bool, float, int, NodeName]:
    """Return what is compared, smallest first.

    Avoided, spread labels, own replicas that stay, own replicas, without the image that is needed
    at once, load, name.
    """
    spread = tuple(crowding[key][label_of(node.spec, key)] for key in request.placement.spread)
    return (
        node.name in request.avoid,
        spread,
        _staying(node, request),
        node.replicas.get(request.service, 0),
        bool(request.image) and request.image not in node.images,
        round(_share_taken(node, request.needs), 3),
        node.load,
        node.name,
    )


def _share_taken(node: Candidate, needs: Resources) -> float:
    """Return the fuller of cpu and memory after taking `needs`, 0 to 1."""
    after = minus(node.free, needs)
    shares = [
        1.0 - free / total
        for free, total in (
            (after.cpu_millis, node.capacity.cpu_millis),
            (after.memory_bytes, node.capacity.memory_bytes),
        )
        if total > 0
    ]
    return max(shares, default=0.0)


# ---------------------------------------------------------------- arithmetic


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
