"""Addresses go where clients are served, once, and stay where nobody serves them better."""

from collections.abc import Mapping

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from node_agent.floating.decide import SAID_EVERYWHERE_S, Around, Right, Seen, decide
from node_agent.floating.homes import NodeNow, candidates
from node_agent.floating.look import Look
from shared import codec, keys
from shared.clock import SystemClock
from shared.model import (
    Availability,
    FloatingAddress,
    FloatingClaim,
    GatewayWord,
    NodeName,
    Revision,
)
from shared.store import KeyValue, Snapshot
from shared.timing import LAN
from tests.build import node_spec

NAMES = tuple(NodeName(f"node-{n}") for n in range(1, 5))
VIP = "198.18.0.50"
RECORD = FloatingAddress(address=VIP)
QUIET = Around(
    now=1000.0,
    lease=7,
    until=1005.0,
    trusted_from=0.0,
    fails_since=0.0,
    segments=("198.18.0.0/24",),
)
WORDS = (None, True, False)
ROUNDS = 5


def known(serves: Mapping[NodeName, bool | None], *cordoned: NodeName) -> tuple[NodeNow, ...]:
    return tuple(
        NodeNow(
            msgspec.structs.replace(
                node_spec(name),
                availability=Availability.CORDONED if name in cordoned else Availability.ACTIVE,
            ),
            serves=word,
        )
        for name, word in serves.items()
    )


def holders(nodes: tuple[NodeNow, ...], holder: NodeName) -> list[NodeName]:
    """Return who has the address, one after the other, while nothing else changes."""
    claim, found = FloatingClaim(node=holder), [holder]
    for _ in range(ROUNDS):
        for node in nodes:
            name = node.spec.name
            seen = Seen(claim, Revision(9), 7 if claim.node else 0)
            up = frozenset({VIP} if claim.node == name else ())
            around = msgspec.structs.replace(QUIET, up=up, free_since={VIP: 0.0})
            decision = decide(name, {VIP: RECORD}, {VIP: seen}, nodes, around, LAN)
            for write in decision.writes:
                assert write.claim is not None
                claim = write.claim
        if claim.node:
            found.append(claim.node)
    return [name for n, name in enumerate(found) if n == 0 or name != found[n - 1]]


@given(
    st.fixed_dictionaries({name: st.sampled_from(WORDS) for name in NAMES}),
    st.sets(st.sampled_from(NAMES)),
    st.sampled_from(NAMES),
)
def test_an_address_moves_once_at_most_and_to_who_serves(
    serves: dict[NodeName, bool | None], cordoned: set[NodeName], holder: NodeName
) -> None:
    nodes = {node.spec.name: node for node in known(serves, *sorted(cordoned))}
    had = holders(tuple(nodes.values()), holder)
    assert len(had) <= 2
    last, before = nodes[had[-1]], nodes[holder]
    assert last is before or last.standing > before.standing
    best = candidates(RECORD, nodes.values())
    if before.serves is False and any(nodes[name].serves for name in best):
        assert last.serves is not False
    if before.serves is not False and before.is_active:
        assert last is before, "a word about others moves nothing"


@given(st.fixed_dictionaries({name: st.sampled_from(WORDS) for name in NAMES}))
def test_whose_gateway_does_not_serve_takes_nothing_unless_all_are_so(
    serves: dict[NodeName, bool | None],
) -> None:
    able = {name for name, word in serves.items() if word is not False}
    assert candidates(RECORD, known(serves)) == (able or set(NAMES))


def test_it_is_let_go_for_one_that_says_that_it_serves_and_kept_where_nobody_says_so() -> None:
    one, other, third, _ = NAMES
    assert holders(known({one: False, other: True}), one) == [one, other]
    assert holders(known({one: False, other: None}), one) == [one], "an older agent says nothing"
    assert holders(known({one: False, other: False}), one) == [one]
    assert holders(known({one: False, other: False, third: False}, one), one)[0] == one
    assert holders(known({one: False, other: True}, other), one) == [one, other]
    assert holders(known({one: True, other: False}, one), one) == [one], "cordoned, and serves"


def test_who_does_not_serve_drops_it_before_it_lets_go() -> None:
    one, other, *_ = NAMES
    seen = Seen(FloatingClaim(node=one, since_s=1.0), Revision(9), 7)
    nodes = known({one: False, other: True})
    decision = decide(one, {VIP: RECORD}, {VIP: seen}, nodes, QUIET, LAN)
    assert decision.rights == {VIP: Right.DOWN}
    (write,) = decision.writes
    assert (write.claim, write.expected) == (FloatingClaim(since_s=1.0), Revision(9))


def test_it_is_kept_until_others_have_had_the_time_to_say_the_same() -> None:
    one, other, *_ = NAMES
    seen = Seen(FloatingClaim(node=one, since_s=1.0), Revision(9), 7)
    nodes = known({one: False, other: True})
    for fails_since, wake_in_s in ((None, None), (QUIET.now - 0.5, SAID_EVERYWHERE_S - 0.5)):
        around = msgspec.structs.replace(QUIET, fails_since=fails_since)
        decision = decide(one, {VIP: RECORD}, {VIP: seen}, nodes, around, LAN)
        assert decision.rights == {VIP: Right.UP}
        assert (decision.writes, decision.wake_in_s) == ((), wake_in_s)


# ------------------------------------------------------------ what is read of it


def words(*said: GatewayWord | tuple[str, bytes]) -> Snapshot:
    pairs = [(str(w.node), codec.encode(w)) if isinstance(w, GatewayWord) else w for w in said]
    items = tuple(
        KeyValue(
            key=keys.GATEWAYS + name,
            value=value,
            create_revision=Revision(1),
            mod_revision=Revision(2),
            lease=0,
        )
        for name, value in pairs
    )
    return Snapshot(items, Revision(2))


def test_a_word_that_cannot_be_read_is_none_and_every_word_ends_the_calm() -> None:
    one, other, third, _ = NAMES
    look = Look(SystemClock(), 1.0, lambda: None)
    specs = tuple(node_spec(name) for name in (one, other, third))
    look.crowd(specs, frozenset((one, other, third)))
    look.remember({}, {}, look.nodes()[0], {})
    calm_since = look.calm_since
    look.gateways.replace(
        words(GatewayWord(node=one, trouble="gone"), GatewayWord(node=other), (third, b"{"))
    )
    nodes, _ = look.nodes()
    assert [node.serves for node in nodes] == [False, True, None]
    assert look.failing_since == {}
    look.remember({}, {}, look.nodes()[0], {})
    assert calm_since is not None
    assert look.calm_since is not None
    assert look.calm_since > calm_since
    assert look.failing_since.keys() == {one}
