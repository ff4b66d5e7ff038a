"""One question to all: a no stands, and only he who was asked can answer."""

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from node_agent.peers.asking import Asking
from node_agent.peers.wire import Datagram, Kind
from shared.model import NodeName
from tests.build import node_spec

ONE, TWO = node_spec("node-1"), node_spec("node-2")
ANSWERS = st.tuples(st.sampled_from([Kind.YES, Kind.NO]), st.booleans())


def asking() -> Asking:
    numbers = count(1)
    return Asking([ONE, TWO], lambda: next(numbers))


@given(st.lists(ANSWERS, min_size=1, max_size=5))
def test_only_he_has_promised_who_said_yes_without_a_session_every_time(
    said: list[tuple[Kind, bool]],
) -> None:
    one = asking()
    for kind, has_session in said:
        done = one.hears(ONE.address, Datagram(kind, 1, ONE.name, has_session=has_session))
        assert not done
    promised = all(answer == (Kind.YES, False) for answer in said)
    assert one.answers == {ONE.name: promised, TWO.name: None}
    assert one.unanswered == ((TWO.address, 2),)
    assert one.hears(TWO.address, Datagram(Kind.YES, 2, TWO.name))


def test_an_answer_from_elsewhere_or_to_another_question_is_none() -> None:
    one = asking()
    for address, nonce, name in (
        (ONE.address, 2, ONE.name),
        (TWO.address, 1, ONE.name),
        (ONE.address, 1, TWO.name),
        (ONE.address, 1, NodeName("node-9")),
        ("203.0.113.7", 1, ONE.name),
    ):
        assert not one.hears(address, Datagram(Kind.YES, nonce, name))
    assert set(one.answers.values()) == {None}
