"""hafen vip: what a person writes, and what is shown."""

import pytest

from deploy.cli.vip import wish_of
from deploy.render import floating_table
from shared.api import FloatingAsked, FloatingView
from shared.errors import SpecError
from shared.model import Constraint, NodeName


def test_an_address_may_bring_its_network_and_choose_its_nodes() -> None:
    assert wish_of("10.0.0.50", ()) == ("10.0.0.50", FloatingAsked())
    plain, asked = wish_of("fd00::50/64", ("edge=yes", "zone!=b", "node.hostname=node-1"))
    assert (plain, asked.prefix_length) == ("fd00::50", 64)
    assert asked.constraints == (
        Constraint(key="node.labels.edge", value="yes"),
        Constraint(key="node.labels.zone", value="b", equal=False),
        Constraint(key="node.hostname", value="node-1"),
    )


@pytest.mark.parametrize(
    ("address", "nodes", "why"),
    [
        ("10.0.0", (), "'10.0.0' is no address; write one such as 10.0.0.50 or 10.0.0.50/24"),
        ("10.0.0.50", ("edge",), "--nodes 'edge': write LABEL=VALUE or LABEL!=VALUE"),
    ],
)
def test_what_cannot_be_read_is_refused(address: str, nodes: tuple[str, ...], why: str) -> None:
    with pytest.raises(SpecError) as caught:
        wish_of(address, nodes)
    assert str(caught.value).startswith(why)


def test_the_table_shows_who_has_it_since_when_and_what_is_wrong() -> None:
    held = FloatingView(
        address="10.0.0.50",
        prefix_length=24,
        holder=NodeName("node-2"),
        since_s=40.0,
        eligible=(NodeName("node-1"), NodeName("node-2")),
    )
    free = FloatingView(address="10.0.0.51", since_s=0.0, problem="nobody answers it yet")
    assert floating_table((held, free), 100.0).rows == (
        ("10.0.0.50/24", "node-2", "1m", "node-1, node-2", "-"),
        ("10.0.0.51", "-", "-", "-", "nobody answers it yet"),
    )
