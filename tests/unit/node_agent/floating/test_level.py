"""Levelling: it ends, one move at a time, by the holder alone, and not before all was calm."""

from collections.abc import Mapping

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from node_agent.floating.decide import Around, Right, Seen, Write, choices_of, decide
from node_agent.floating.homes import NodeNow, candidates
from node_agent.floating.level import Move, level
from node_agent.floating.look import Look
from shared import codec, keys
from shared.clock import SystemClock
from shared.model import (
    Availability,
    Constraint,
    FloatingAddress,
    FloatingClaim,
    NodeName,
    Revision,
    Silence,
    Suspicion,
)
from shared.store import KeyValue, Snapshot
from shared.timing import LAN
from tests.build import node_spec

NAMES = tuple(NodeName(f"node-{n}") for n in range(1, 5))
ADDRESSES = tuple(f"198.18.9.{n}" for n in range(1, 8))
NODES = tuple(NodeNow(node_spec(name)) for name in NAMES)
AS_OF = {keys.VIPS: Revision(80), keys.SUSPECTS: Revision(81)}
LABELS: tuple[dict[str, str], ...] = ({}, {"edge": "yes"})
Claims = Mapping[str, FloatingClaim]
Records = Mapping[str, FloatingAddress]


@st.composite
def clusters(draw: st.DrawFn) -> tuple[Records, Claims, tuple[NodeNow, ...]]:
    """Draw addresses of all nodes or of edges alone, some sent by a person, held by anybody."""
    nodes = tuple(NodeNow(node_spec(name, **draw(st.sampled_from(LABELS)))) for name in NAMES)
    only = (Constraint(key="node.labels.edge", value="yes"),)
    records, claims = {}, {}
    for address in draw(st.sets(st.sampled_from(ADDRESSES), min_size=1)):
        record = FloatingAddress(
            address=address,
            constraints=only if draw(st.booleans()) else (),
            moves=draw(st.integers(0, 1)),
            move_to=draw(st.sampled_from(NAMES)),
        )
        allowed = sorted(candidates(record, nodes)) or list(NAMES)
        records[address] = record
        since_s = draw(st.floats(0, 100))
        claims[address] = FloatingClaim(node=draw(st.sampled_from(allowed)), since_s=since_s)
    return records, claims, nodes


def loads(claims: Claims) -> dict[NodeName, int]:
    held = [claim.node for claim in claims.values()]
    return {name: held.count(name) for name in NAMES}


def stays(record: FloatingAddress, claim: FloatingClaim) -> bool:
    return record.moves > 0 and record.move_to == claim.node


@given(clusters())
def test_levelling_ends_where_no_move_would_gain_anything(
    drawn: tuple[Records, Claims, tuple[NodeNow, ...]],
) -> None:
    records, claims, nodes = drawn
    steps_max = sum(load * load for load in loads(claims).values())
    for _ in range(steps_max + 1):
        move = level(records, claims, nodes)
        if move is None:
            break
        held, before = claims[move.address], loads(claims)
        assert move.to in candidates(records[move.address], nodes)
        assert before[held.node] - before[move.to] >= 2
        assert not stays(records[move.address], held)
        claims = {**claims, move.address: FloatingClaim(node=move.to, since_s=held.since_s)}
    now = loads(claims)
    for address, claim in claims.items():
        for to in candidates(records[address], nodes):
            is_gain = now[claim.node] - now[to] >= 2
            assert not is_gain or stays(records[address], claim), "it has not ended"


def judged(
    me: NodeName, records: Records, claims: Claims, nodes: tuple[NodeNow, ...], now: float
) -> tuple[Mapping[str, Right], tuple[Write, ...], float | None]:
    around = Around(
        now=now,
        lease=7,
        until=now + 5.0,
        trusted_from=0.0,
        up=frozenset(a for a, claim in claims.items() if claim.node == me),
        calm_since=1000.0,
        as_of=AS_OF,
    )
    seen = {a: Seen(claim, Revision(70), 7) for a, claim in claims.items()}
    found = decide(me, records, seen, nodes, around, LAN)
    return found.rights, found.writes, found.wake_in_s


@given(clusters())
def test_of_all_agents_the_holder_alone_lets_go_and_not_before_it_was_calm(
    drawn: tuple[Records, Claims, tuple[NodeNow, ...]],
) -> None:
    _, claims, nodes = drawn
    records = {address: FloatingAddress(address=address) for address in claims}
    move = level(records, claims, nodes)
    early, late = 1000.0 + LAN.level_s - 1.0, 1000.0 + LAN.level_s
    before = {name: judged(name, records, claims, nodes, early) for name in NAMES}
    after = {name: judged(name, records, claims, nodes, late) for name in NAMES}

    assert not any(writes for _, writes, _ in before.values())
    written = {name: writes for name, (_, writes, _) in after.items() if writes}
    if move is None:
        assert not written
        return
    holder = claims[move.address]
    left = FloatingClaim(heir=move.to, since_s=holder.since_s)
    assert written == {
        holder.node: (
            Write(address=move.address, claim=left, expected=Revision(70), unchanged=AS_OF),
        )
    }
    assert after[holder.node][0][move.address] is Right.DOWN, "it drops it before another has it"
    assert before[holder.node][0][move.address] is Right.UP
    assert before[holder.node][2] == 1.0


def held_by(*holders: NodeName) -> tuple[Records, Claims]:
    claims = {
        f"198.18.9.{n}": FloatingClaim(node=holder, since_s=n) for n, holder in enumerate(holders)
    }
    return {address: FloatingAddress(address=address) for address in claims}, claims


ONE, TWO, THREE = NAMES[:3]


def test_the_one_that_was_taken_last_goes_to_who_has_the_fewest() -> None:
    records, claims = held_by(ONE, ONE, ONE, TWO)
    assert level(records, claims, NODES[:3]) == Move("198.18.9.2", THREE)
    assert level(records, claims, NODES[:3], {("198.18.9.2", THREE)}) == Move("198.18.9.1", THREE)


def test_nothing_moves_while_an_address_has_no_sound_holder_or_to_a_node_that_takes_nothing() -> (
    None
):
    records, claims = held_by(ONE, ONE, ONE)
    assert level(records, {**claims, "198.18.9.0": FloatingClaim()}, NODES[:2]) is None
    assert level({**records, "198.18.9.7": FloatingAddress(address="")}, claims, NODES[:2]) is None
    assert level(records, claims, (NodeNow(node_spec(ONE), is_well=False), *NODES[1:2])) is None
    cordoned = msgspec.structs.replace(node_spec(TWO), availability=Availability.CORDONED)
    assert level(records, claims, (NODES[0], NodeNow(cordoned))) is None
    assert level(records, claims, (NODES[0], NodeNow(node_spec(TWO), is_well=False))) is None


# ------------------------------------------------------------ calm


class Clock(SystemClock):
    """The machine's, with a boot clock that is moved on by hand."""

    now = 1000.0

    def boot_s(self) -> float:
        return self.now


class Seeing:
    """A Look, and what it is shown; time passes between any two things that are shown."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.look = Look(self.clock, 0.0, lambda: None)
        self.look.crowd((node_spec(ONE), node_spec(TWO)), frozenset({ONE, TWO}))
        self.revision = 10

    def show(self, *claims: tuple[str, FloatingClaim]) -> float | None:
        """Show claims; return for how long it is calm."""
        items = {address: Seen(claim, Revision(self.revision), 1) for address, claim in claims}
        records = {address: FloatingAddress(address=address) for address, _ in claims}
        self.look.remember(records, items, self.look.nodes()[0], {})
        self.clock.now += 1.0
        return self.calm_s

    @property
    def calm_s(self) -> float | None:
        since_s = self.look.calm_since
        return None if since_s is None else self.clock.boot_s() - since_s

    def suspect(self, node: NodeName) -> None:
        word = Suspicion(node=node, peer=ONE, silence=Silence.AGENT, since_s=1.0)
        key = keys.suspect(node, ONE)
        item = KeyValue(key, codec.encode(word), Revision(5), Revision(5))
        self.look.words.replace(Snapshot((item,), Revision(5)))


HELD = ("198.18.9.1", FloatingClaim(node=ONE))
BOTH = frozenset({ONE, TWO})


def test_whatever_changes_begins_the_calm_anew() -> None:
    seeing = Seeing()
    assert [seeing.show(HELD) for _ in range(3)] == [1.0, 2.0, 3.0]
    seeing.revision = 11
    assert [seeing.show(HELD) for _ in range(2)] == [1.0, 2.0]
    seeing.look.crowd((node_spec(ONE), node_spec(TWO)), frozenset({ONE}))
    assert [seeing.show(HELD) for _ in range(2)] == [1.0, 2.0]
    seeing.suspect(TWO)
    assert seeing.show(HELD) == 3.0, "who has no session is gone, not suspected"
    seeing.suspect(ONE)
    assert seeing.show(HELD) is None


def test_who_does_not_take_what_was_left_to_it_is_not_tried_again_while_its_session_lasts() -> None:
    seeing = Seeing()
    address = HELD[0]
    seeing.show((address, FloatingClaim(heir=TWO)))
    seeing.show((address, FloatingClaim(node=ONE)))
    assert seeing.look.declined == {(address, TWO)}
    seeing.show((address, FloatingClaim(heir=ONE)))
    seeing.show((address, FloatingClaim(node=ONE)))
    assert seeing.look.declined == {(address, TWO)}, "who takes it has not declined"
    seeing.look.crowd((node_spec(ONE), node_spec(TWO)), frozenset({ONE}))
    seeing.show((address, FloatingClaim(node=ONE)))
    assert seeing.look.declined == frozenset()


@given(
    st.lists(
        st.tuples(
            st.lists(st.tuples(st.sampled_from(("", ONE, TWO)), st.sampled_from(("", ONE, TWO)))),
            st.sampled_from((frozenset({ONE}), frozenset({TWO}), BOTH)),
        ),
        min_size=1,
        max_size=5,
    )
)
@example([([("", TWO), (ONE, "")], BOTH), ([(ONE, ""), (ONE, "")], BOTH)])
@example([([(ONE, ""), ("", TWO)], BOTH), ([(ONE, ""), (ONE, "")], BOTH)])
def test_what_is_chosen_follows_from_what_was_shown_last(
    shown: list[tuple[list[tuple[str, str]], frozenset[NodeName]]],
) -> None:
    seeing = Seeing()
    for words, present in shown:
        seeing.look.crowd((node_spec(ONE), node_spec(TWO)), present)
        claims = {
            address: FloatingClaim(node=NodeName(node), heir=NodeName("" if node else heir))
            for address, (node, heir) in zip(ADDRESSES, words, strict=False)
        }
        seeing.show(*claims.items())
        records = {address: FloatingAddress(address=address) for address in claims}
        seen = {address: Seen(claim, Revision(1)) for address, claim in claims.items()}
        nodes, gone = seeing.look.nodes()
        now = choices_of(records, seen, nodes, gone, seeing.look.declined)
        assert seeing.look.choices == now
