"""What the API says of nodes, and what people say of them.

Pure.
"""

from collections.abc import Mapping

from shared.model import AllocId, Availability, NodeName, Record, Resources


class NodeView(Record, frozen=True, kw_only=True):
    """A node as a person sees it.

    Attributes:
        state: a verdict of scheduler.nodes.
        reason: of the state, one sentence; empty where all is well.
        availability: what a person allows it, whatever its state is.
    """

    name: NodeName
    state: str
    address: str
    capacity: Resources = Resources()
    reserved: Resources = Resources()
    allocations: int = 0
    leader: bool = False
    reason: str = ""
    problems: tuple[str, ...] = ()
    availability: Availability = Availability.ACTIVE
    labels: Mapping[str, str] = {}


class NodeList(Record, frozen=True, kw_only=True):
    """All nodes, sorted by name."""

    nodes: tuple[NodeView, ...]


class Left(Record, frozen=True, kw_only=True):
    """Something that a node still has.

    Attributes:
        what: a slot such as shop.web.1, or a floating address.
        allocation: empty: it is none.
        state: of the allocation, in one word.
        why: while the node is being drained: what it waits for, one sentence.
        is_stuck: it does not go before somebody has changed something.
    """

    what: str
    allocation: AllocId = AllocId("")
    state: str = ""
    why: str = ""
    is_stuck: bool = False


class NodeDetail(Record, frozen=True, kw_only=True):
    """A node with what it has.

    Attributes:
        subnet: the network of its containers.
        left: what it runs, and the floating addresses that it has.
        volumes: whose data it has.
    """

    node: NodeView
    subnet: str = ""
    left: tuple[Left, ...] = ()
    volumes: tuple[str, ...] = ()


class NodeChange(Record, frozen=True, kw_only=True):
    """What a person changes of a node.

    Attributes:
        availability: None: it stays as it is.
        labels: to set; None takes one away.
    """

    availability: Availability | None = None
    labels: Mapping[str, str | None] = {}
