"""What the API says and is asked about floating addresses.

Pure.
"""

from shared.model import Constraint, NodeName, Record


class FloatingAsked(Record, frozen=True, kw_only=True):
    """A floating address to have, see model.FloatingAddress."""

    prefix_length: int = 0
    constraints: tuple[Constraint, ...] = ()


class FloatingMove(Record, frozen=True, kw_only=True):
    """Where a floating address should go."""

    node: NodeName


class FloatingView(Record, frozen=True, kw_only=True):
    """A floating address as a person sees it.

    Attributes:
        holder: the node that answers it; empty: none does.
        since_s: wall clock of the holder when it took it; 0: nobody ever did.
        eligible: nodes that may have it and are well, sorted.
        problem: what stands in the way; empty where all is well.
    """

    address: str
    prefix_length: int = 0
    constraints: tuple[Constraint, ...] = ()
    holder: NodeName = NodeName("")
    since_s: float = 0.0
    eligible: tuple[NodeName, ...] = ()
    problem: str = ""


class FloatingList(Record, frozen=True, kw_only=True):
    """All floating addresses, sorted."""

    addresses: tuple[FloatingView, ...]
