"""Which node takes which slot.

Filter, score, bind; a refusal says which node lacks what, with numbers.

Pure, total and deterministic. Slots are placed one after the other on a ledger of what is free, so
that a placement sees the ones before it.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from scheduler.fit import Candidate, Request, ServiceKey, minus, refuse
from shared.labels import label_of
from shared.model import NodeName, Resources


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
        if self.request.blocked:
            return self.request.blocked
        if not self.refusals:
            return "no node is ready"
        each = "; ".join(f"{refusal.node}: {refusal.why}" for refusal in self.refusals[:_SHOWN_MAX])
        more = len(self.refusals) - _SHOWN_MAX
        return f"no node fits: {each}" + (f"; and {more} more" if more > 0 else "")


# A sentence about more nodes than this is not read.
_SHOWN_MAX: Final = 5


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
    if request.blocked:
        return Unplaceable(request, ())
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
    owner = f"{request.service[0]}.{request.service[1]}.{request.slot}"
    addresses = node.addresses
    if addresses is not None and request.needs_address:
        addresses -= 1
    return msgspec.structs.replace(
        node,
        free=minus(node.free, request.needs),
        document_bytes=node.document_bytes + request.document_bytes,
        replicas=replicas,
        addresses=addresses,
        ports={**node.ports, **dict.fromkeys(request.ports, owner)}
        if request.ports
        else node.ports,
    )


def _elsewhere(node: Candidate, request: Request, homes: Mapping[str, NodeName]) -> str | None:
    for volume in request.volumes:
        home = homes.get(volume, node.name)
        if home != node.name:
            return f"the data of volume {volume} is on {home}"
    return None


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
    free, total = node.free, node.capacity
    shares = [
        1.0 - left / whole
        for left, whole in (
            (free.cpu_millis - needs.cpu_millis, total.cpu_millis),
            (free.memory_bytes - needs.memory_bytes, total.memory_bytes),
        )
        if whole > 0
    ]
    return max(shares, default=0.0)
