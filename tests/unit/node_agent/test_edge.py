"""What gateways have besides routes: what cannot be read is told, and the rest is served."""

from pathlib import Path

from node_agent.edge import EdgeView
from shared import codec, keys
from shared.model import Challenge, Record, Revision
from shared.store import KeyValue, Snapshot


def item(key: str, value: bytes | Record) -> KeyValue:
    content = codec.encode(value) if isinstance(value, Record) else value
    return KeyValue(key, content, Revision(1), Revision(1), 0)


def test_a_proof_that_cannot_be_read_is_a_problem_and_the_others_are_answered() -> None:
    edge = EdgeView(lambda: None, Path("/absent"))
    good = item(keys.challenge("a"), Challenge(token="a", answer="a.b"))  # noqa: S106 - no secret
    bad = item(keys.challenge("b"), b"{}")
    for range_, view in edge.followed():
        items = (good, bad) if range_.key == keys.CHALLENGES else ()
        view.replace(Snapshot(items, Revision(1)))
    extras = edge.read()
    assert extras is not None
    assert extras.challenges == {"a": "a.b"}
    assert edge.problems == ("challenges/b: Object missing required field `token`",)
