"""Addresses for clients outside the cluster, each on one node at a time.

Pure.
"""

from shared.model.base import NodeName, Record
from shared.model.service import Constraint


class FloatingAddress(Record, frozen=True, kw_only=True):
    """An address that some node always answers. Key: floating/<address>. Writer: the API.

    Attributes:
        address: IPv4 or IPv6, without a prefix.
        prefix_length: of the network that it brings along, for one that no network of the nodes'
            interfaces contains; 0: it is in one of theirs.
        constraints: which nodes may have it.
        moves: counts a person's wishes to have it elsewhere; each is heard once.
        move_to: where the newest of them wants it.
    """

    address: str
    prefix_length: int = 0
    constraints: tuple[Constraint, ...] = ()
    moves: int = 0
    move_to: NodeName = NodeName("")


class FloatingClaim(Record, frozen=True, kw_only=True):
    """The right to answer a floating address.

    Key: vips/<address>. Writer: the agent that takes it, under its session's lease while it has it;
    without a lease and with `node` empty once it has let go. The API writes the first one, let go,
    with the address itself: one that is absent had a holder whose lease has ended.

    Attributes:
        heir: of one that was let go: who should take it.
        moves: of the address, when the holder took it: what a person wished before is past.
        since_s: wall clock of the holder, for display only; 0: nobody ever had it.
    """

    node: NodeName = NodeName("")
    heir: NodeName = NodeName("")
    moves: int = 0
    since_s: float = 0.0
