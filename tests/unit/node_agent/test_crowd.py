"""When what nobody claims may be taken."""

import pytest

from node_agent.crowd import Crowd

HOLD_S = 10.0


@pytest.mark.parametrize(
    ("present", "nodes", "is_here"),
    [
        *((0, 0, False), (0, 1, False), (1, 1, True), (0, 2, False), (1, 2, True)),
        *((1, 3, False), (2, 3, True), (2, 4, False), (3, 4, True)),
    ],
)
def test_most_of_the_nodes_and_of_two_either(present: int, nodes: int, *, is_here: bool) -> None:
    crowd = Crowd(HOLD_S)
    assert crowd.learn(1.0, present=present, nodes=nodes) == is_here
    assert crowd.trusted_from == (1.0 + HOLD_S if is_here else None)


def test_trust_begins_anew_whenever_the_crowd_comes_back() -> None:
    crowd = Crowd(HOLD_S)
    moments = ((1.0, 2, True), (2.0, 3, False), (3.0, 1, True), (4.0, 1, False), (5.0, 2, True))
    found = []
    for now, present, is_other in moments:
        assert crowd.learn(now, present=present, nodes=3) == is_other
        found.append(crowd.trusted_from)
    assert found == [11.0, 11.0, None, None, 15.0]
