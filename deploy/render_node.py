"""Nodes as tables and lines for people.

Pure.
"""

from collections.abc import Iterable, Mapping, Sequence

from deploy.render import Column, Table, cpus, size
from shared.api import Left, NodeDetail, NodeView
from shared.model import Availability


def node_table(nodes: Iterable[NodeView]) -> Table:
    """Return nodes with what they have, what is promised, and what is wrong with them."""
    columns = (
        Column("NODE"),
        Column("STATE"),
        Column("ADDRESS"),
        Column("CPUS", is_number=True),
        Column("MEMORY", is_number=True),
        Column("REPLICAS", is_number=True),
        Column("LABELS"),
        Column("NOTES"),
    )
    rows = tuple(
        (
            node.name,
            node.state,
            node.address,
            f"{cpus(node.reserved.cpu_millis)}/{cpus(node.capacity.cpu_millis)}",
            f"{size(node.reserved.memory_bytes)}/{size(node.capacity.memory_bytes)}",
            str(node.allocations),
            labels_text(node.labels),
            "; ".join(_notes(node)),
        )
        for node in nodes
    )
    return Table(columns, rows)


def labels_text(labels: Mapping[str, str]) -> str:
    """Return labels as people write them."""
    return " ".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _notes(node: NodeView) -> Iterable[str]:
    if node.leader:
        yield "leader"
    is_told = node.state == node.availability.value
    if node.availability is not Availability.ACTIVE and not is_told:
        yield node.availability.value
    if node.reason:
        yield node.reason
    yield from node.problems


def node_lines(one: NodeDetail) -> Iterable[str]:
    """Return everything about one node."""
    node = one.node
    yield f"{node.name}: {', '.join([node.state, *_notes(node)])}"
    yield f"address {node.address}, containers in {one.subnet}"
    reserved, capacity = node.reserved, node.capacity
    yield (
        f"{cpus(reserved.cpu_millis)} of {cpus(capacity.cpu_millis)} cpus and"
        f" {size(reserved.memory_bytes)} of {size(capacity.memory_bytes)} are reserved"
    )
    yield f"labels: {labels_text(node.labels) or 'none'}"
    if one.volumes:
        yield f"data of volumes: {', '.join(one.volumes)}"
    if one.left:
        yield "it has:"
        yield from (f"  {left_line(left)}" for left in one.left)


def left_line(left: Left) -> str:
    """Return one thing that a node still has, in one line."""
    state = f" {left.state}" if left.state else ""
    return f"{left.what}{state}" + (f": {left.why}" if left.why else "")


def drain_lines(before: NodeDetail | None, now: NodeDetail) -> Iterable[str]:
    """Return a line for each thing on a draining node that is not as it was."""
    known = {_id(left): left for left in before.left} if before is not None else {}
    here = {_id(left): left for left in now.left}
    for id_, left in known.items():
        if id_ not in here:
            yield f"{left.what} has left {now.node.name}"
    for id_, left in here.items():
        if known.get(id_) != left:
            yield left_line(left)


def _id(left: Left) -> tuple[str, str]:
    return left.what, left.allocation


def stuck_message(name: str, left: Sequence[Left]) -> str:
    """Return why a node does not become empty, and what may be done."""
    things = "1 thing stays" if len(left) == 1 else f"{len(left)} things stay"
    return "\n".join(
        [
            f"{name} is not drained: {things} there, and nothing was stopped for it",
            *(f"  {left_line(one)}" for one in left),
            f"It is tried on and on; `hafen node uncordon {name}` lets {name} take work again.",
        ]
    )


def removed_lines(gone: NodeDetail) -> Iterable[str]:
    """Return what the removal of a node means."""
    name = gone.node.name
    yield f"{name} is removed"
    if gone.volumes:
        yield (
            f"what it has of volumes {', '.join(gone.volumes)} stays on its disk; services that use"
            " one wait until `hafen volume rm --force` forgets it"
        )
    yield f"should hafen start on that host again, {name} joins anew, as an empty node"
