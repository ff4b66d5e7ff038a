"""How labels are written, and what a person reads while a node is emptied."""

import msgspec
import pytest

from deploy.cli.node import labels_of
from deploy.render_node import drain_lines, left_line, node_table, stuck_message
from shared.api import Left, NodeDetail, NodeView
from shared.errors import SpecError
from shared.model import AllocId, Availability, NodeName

NODE = NodeView(name=NodeName("node-2"), state="draining", address="192.0.2.2")
WEB = Left(what="shop.web.1", allocation=AllocId("shop.web.1.a"), state="healthy", why="it waits")


def having(*left: Left) -> NodeDetail:
    return NodeDetail(node=NODE, left=left)


def test_labels_are_set_with_an_equals_sign_and_taken_away_with_a_hyphen() -> None:
    words = ("zone=a", "node.labels.disk=ssd", "note=", "old-", "sum=a=b")
    expected = {"zone": "a", "disk": "ssd", "note": "", "old": None, "sum": "a=b"}
    assert labels_of(words) == expected


@pytest.mark.parametrize("word", ["zone", "=a", "-", ""])
def test_what_is_no_label_is_refused_with_how_to_write_one(word: str) -> None:
    with pytest.raises(SpecError, match="write KEY=VALUE to set a label, KEY- to take it away"):
        labels_of([word])


def test_a_drain_tells_what_is_new_and_what_has_left() -> None:
    moved = msgspec.structs.replace(WEB, state="draining", why="it ends")
    assert list(drain_lines(None, having(WEB))) == ["shop.web.1 healthy: it waits"]
    assert list(drain_lines(having(WEB), having(WEB))) == []
    assert list(drain_lines(having(WEB), having(moved))) == ["shop.web.1 draining: it ends"]
    assert list(drain_lines(having(moved), having())) == ["shop.web.1 has left node-2"]


def test_what_stays_is_named_and_so_is_the_way_back() -> None:
    lines = stuck_message("node-2", [WEB, Left(what="floating address 192.0.2.50")]).splitlines()
    assert lines[0].startswith("node-2 is not drained: 2 things stay there")
    assert lines[1:3] == [f"  {left_line(WEB)}", "  floating address 192.0.2.50"]
    assert "hafen node uncordon node-2" in lines[3]


def test_a_node_that_is_lost_still_shows_that_it_was_being_drained() -> None:
    lost = msgspec.structs.replace(NODE, state="lost", availability=Availability.DRAINING)
    assert node_table([lost]).rows[0][-1] == "draining"
    drained = msgspec.structs.replace(NODE, availability=Availability.DRAINING)
    assert node_table([drained]).rows[0][-1] == ""
