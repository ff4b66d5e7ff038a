"""Which images wait on which nodes, so that a replacement does not begin with a download.

Pure. For every service one node that could run it and does not is told to have its image: one that
has room for a copy now, or, if none has, any that its labels allow. Which one of them is found by
rendezvous hashing: it moves only when the nodes that qualify change.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from hashlib import blake2b
from typing import Final

from scheduler.allocs import Asked
from scheduler.candidates import room_of
from scheduler.fit import Candidate, Request, refuse
from scheduler.nodes import Verdicts
from scheduler.world import World
from shared.labels import meets
from shared.model import Assignment, NodeName, PullPolicy, ServiceSpec
from shared.ports import host_ports
from shared.states import AllocState

# Ranks of 100 images on 1,000 nodes.
_RANKS_MAX: Final = 100_000


def spare_images(
    world: World,
    verdicts: Verdicts,
    services: Iterable[Asked],
    held: Mapping[NodeName, Sequence[Assignment]],
) -> Mapping[NodeName, tuple[str, ...]]:
    """Return the images that each node should have though it runs none of them, sorted.

    Args:
        world: what is known.
        verdicts: a node that was given up or is cordoned is no spare; one that is doubted for a
            moment stays one.
        services: all of them.
        held: what every node will hold.
    """
    if world.frozen_stacks:
        # Nobody knows what an unreadable stack needs.
        return {name: node.manifest.images for name, node in world.nodes.items() if node.manifest}
    able = [
        room_of(node, node.report, held.get(name, ()))
        for name, node in world.nodes.items()
        if node.report is not None
        and not verdicts[name].is_given_up
        and not verdicts[name].is_by_order
    ]
    running: dict[str, set[NodeName]] = defaultdict(set)
    for name, assignments in held.items():
        for assignment in assignments:
            running[assignment.workload.image].add(name)
    found: dict[NodeName, set[str]] = defaultdict(set)
    for asked in services:
        if asked.spec is None or not asked.slots or not _may_fetch(asked.spec):
            continue
        image = asked.spec.workload.image
        for name in _replaced_on(asked, held):
            found[name].add(image)
        spare = _spare(asked, asked.spec, able, running[image])
        if spare is not None:
            found[spare].add(image)
    return {name: tuple(sorted(images)) for name, images in found.items()}


def _may_fetch(spec: ServiceSpec) -> bool:
    """Say whether nodes may ask a registry: of an image that was built for this cluster none knows.

    If one did, it would be a stranger's.
    """
    return spec.workload.pull is not PullPolicy.NEVER


def _spare(
    asked: Asked, spec: ServiceSpec, able: Iterable[Candidate], running: AbstractSet[NodeName]
) -> NodeName | None:
    """Return the node that should have a service's image though it runs none of it."""
    image, constraints = spec.workload.image, spec.placement.constraints
    allowed = [node for node in able if node.name not in running and meets(node.spec, constraints)]
    copy = Request(
        service=(asked.stack, asked.service),
        slot=0,
        needs=spec.workload.reservations,
        placement=spec.placement,
        ports=host_ports(spec.workload),
    )
    first = _first(image, allowed)
    if first is None or refuse(first, copy) is None:
        return first.name if first is not None else None
    # Asked of all only now: mostly the first one has room.
    return (_first(image, [one for one in allowed if refuse(one, copy) is None]) or first).name


def _first(image: str, nodes: Iterable[Candidate]) -> Candidate | None:
    return max(nodes, key=lambda node: (_rank(image, node.name), node.name), default=None)


def _replaced_on(asked: Asked, held: Mapping[NodeName, Sequence[Assignment]]) -> Iterable[NodeName]:
    """Return the nodes of copies that another version is to replace.

    Most of its own copies come to the same nodes; all fetch its image at once.
    """
    if asked.trial is None and not asked.image_waits:
        return ()
    key = (asked.stack, asked.service)
    return [name for name in held if any((a.stack, a.service) == key for a in held[name])]


def why_no_image(world: World, spec: ServiceSpec, nodes: Iterable[NodeName]) -> tuple[str, str]:
    """Return why an image is on none of `nodes` yet, and why it never will be; both may be empty.

    Args:
        world: what the nodes report.
        spec: the version that is to begin.
        nodes: where it may begin.
    """
    if not _may_fetch(spec):
        return "", ""  # Nodes are not told to fetch it, so they do not say whether they have it.
    image = spec.workload.image
    missing: list[str] = []
    names = sorted(nodes)
    for name in names:
        report = world.nodes[name].report if name in world.nodes else None
        if report is None:
            continue
        if image in report.images or image in _running(world, name):
            return "", ""
        if image in report.missing_images:
            missing.append(f"{name}: {report.missing_images[image]}")
    waits = f"image {image} is not yet on {', '.join(names) or 'any node'}"
    return waits, "; ".join(missing) if missing and len(missing) == len(names) else ""


def _running(world: World, name: NodeName) -> frozenset[str]:
    node = world.nodes[name]
    assert node.report is not None, "asked of nodes that have reported"
    started = {each.id for each in node.report.allocations if each.state is AllocState.RUNNING}
    return frozenset(a.workload.image for a in node.assignments if a.id in started)


@lru_cache(maxsize=_RANKS_MAX)
def _rank(image: str, node: NodeName) -> bytes:
    return blake2b(f"{image}\0{node}".encode(), digest_size=8).digest()
