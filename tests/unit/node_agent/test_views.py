"""What an agent reads of networks."""

from node_agent.views import other_networks
from shared import codec, keys
from shared.mirror import View
from shared.model import Network, Revision
from shared.store import KeyValue, Snapshot


def test_networks_that_no_stack_makes_are_read_and_garbage_is_left_out() -> None:
    wan = Network(name="wan", internal=True)
    view = View(lambda: None)
    records = {"wan": codec.encode(wan), "torn": b"{"}
    items = [
        KeyValue(keys.network(name), value, Revision(1), Revision(1))
        for name, value in records.items()
    ]
    view.replace(Snapshot(tuple(items), Revision(1)))
    assert other_networks(view) == (wan,)
