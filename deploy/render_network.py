"""Networks and addresses as tables.

Pure.
"""

from collections.abc import Iterable

from deploy.render import Column, Table
from shared.api import NetworkView, PoolView


def network_table(networks: Iterable[NetworkView]) -> Table:
    """Return networks with who makes them, who uses them, and what of a subnet is asked for."""
    columns = (
        Column("NETWORK"),
        Column("SUBNET"),
        Column("FIXED"),
        Column("CONTAINERS"),
        Column("MADE BY"),
        Column("USED BY"),
        Column("NOTES"),
    )
    rows = tuple(
        (
            one.name,
            one.subnet or "-",
            f"{one.addresses} of {one.capacity}" if one.subnet else "-",
            str(one.containers),
            ", ".join(one.made_by) or "-",
            ", ".join(one.used_by) or "-",
            "; ".join(_notes(one)),
        )
        for one in networks
    )
    return Table(columns, rows)


def _notes(one: NetworkView) -> Iterable[str]:
    if one.internal:
        yield "internal"
    if not one.made_by:
        yield "nobody makes it any more"


def pool_table(pools: Iterable[PoolView]) -> Table:
    """Return what addresses there are and how many are taken."""
    columns = (Column("ADDRESSES OF"), Column("SUBNET"), Column("USED"))
    rows = tuple(
        (one.node or "services (virtual)", one.subnet, f"{one.used} of {one.capacity}")
        for one in pools
    )
    return Table(columns, rows)
