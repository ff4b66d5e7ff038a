"""What the API answers about networks and the addresses that there are.

Pure.
"""

from shared.model import NodeName, Record


class NetworkView(Record, frozen=True, kw_only=True):
    """A network as a person sees it.

    Attributes:
        subnet: where its fixed addresses are from; empty: it has none.
        made_by: such as "stack shop"; several may make the same one; empty: nobody does any more.
        used_by: services as <stack>.<service>.
        containers: how many are on it, standbys included.
        addresses: how many fixed ones are asked for.
        capacity: how many its subnet has; 0: it has none.
    """

    name: str
    internal: bool = False
    subnet: str = ""
    made_by: tuple[str, ...] = ()
    used_by: tuple[str, ...] = ()
    containers: int = 0
    addresses: int = 0
    capacity: int = 0


class PoolView(Record, frozen=True, kw_only=True):
    """Addresses that the leader gives, and how many of them are taken.

    Attributes:
        node: whose containers get them; empty: services do, as virtual ones.
    """

    subnet: str
    capacity: int
    used: int
    node: NodeName = NodeName("")


class NetworkList(Record, frozen=True, kw_only=True):
    """Networks by name, and what addresses there are: each node's, then the virtual ones."""

    networks: tuple[NetworkView, ...]
    pools: tuple[PoolView, ...] = ()
