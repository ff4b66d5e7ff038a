"""What labels a node has, and whether they are what is asked for.

Pure.
"""

from collections.abc import Iterable

from shared.model import Constraint, NodeSpec


def label_of(spec: NodeSpec, key: str) -> str | None:
    """Return the value of `node.hostname`, `node.id` or a label; None: there is no such label."""
    if key in {"node.hostname", "node.id"}:
        return spec.name
    return spec.labels.get(key.removeprefix("node.labels."))


def meets(spec: NodeSpec, constraints: Iterable[Constraint]) -> bool:
    """Say whether a node is as all the constraints ask for."""
    return all((label_of(spec, one.key) == one.value) == one.equal for one in constraints)
