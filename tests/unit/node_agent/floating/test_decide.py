"""Floating addresses: what is answered, taken and let go, whatever the store and the peers say."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from node_agent.floating.convicted import contact_until, convicted
from node_agent.floating.decide import NEXT_S, Around, Decision, Right, Seen, Write, decide
from node_agent.floating.homes import NodeNow, candidates, homes
from scheduler.votes import word
from scheduler.world import NodeState, World
from shared import keys
from shared.model import (
    Availability,
    Constraint,
    FloatingAddress,
    FloatingClaim,
    NodeName,
    Revision,
    Silence,
)
from shared.timing import LAN
from tests.build import node_spec

NAMES = tuple(NodeName(f"node-{n}") for n in range(1, 6))
ME, OTHER, THIRD = NAMES[:3]
VIP = "198.18.0.50"
RECORD = FloatingAddress(address=VIP)
NODES = tuple(NodeNow(node_spec(name)) for name in NAMES[:3])
QUIET = Around(now=1000.0, lease=7, until=1005.0, trusted_from=0.0, segments=("198.18.0.0/24",))
WORDS = {OTHER: {ME: Revision(70), THIRD: Revision(71)}}


def seen(node: str, *, lease: int = 7, **said: object) -> dict[str, Seen]:
    claim = msgspec.structs.replace(FloatingClaim(node=NodeName(node), since_s=1.0), **said)
    return {VIP: Seen(claim, Revision(90), lease if node else 0)}


def judge(
    claims: dict[str, Seen] | None = None,
    *,
    record: FloatingAddress = RECORD,
    nodes: tuple[NodeNow, ...] = NODES,
    **around: object,
) -> Decision:
    now = msgspec.structs.replace(QUIET, **around)
    return decide(ME, {VIP: record}, claims or {}, nodes, now, LAN)


def only(decision: Decision) -> Write:
    (write,) = decision.writes
    return write


# ------------------------------------------------------------ what is always so

_some = st.sets(st.sampled_from((VIP, "198.18.0.51")))


@st.composite
def surroundings(draw: st.DrawFn) -> tuple[dict[str, Seen], Around]:
    claims = {}
    for address in (VIP, "198.18.0.51"):
        if draw(st.booleans()):
            node = draw(st.sampled_from((*NAMES[:3], NodeName(""))))
            lease = draw(st.sampled_from((7, 8)))
            claims[address] = Seen(FloatingClaim(node=node), Revision(90), lease if node else 0)
    times = st.floats(990.0, 1010.0)
    around = Around(
        now=1000.0,
        lease=draw(st.sampled_from((0, 7))),
        until=draw(times),
        is_in_contact=draw(st.booleans()),
        doubted=frozenset(draw(_some)),
        up=frozenset(draw(_some)),
        free_since=draw(st.dictionaries(st.just(VIP), times)),
        convicted=draw(st.sampled_from(({}, WORDS))),
        convicted_since={OTHER: 999.0},
        last_holder=draw(st.sampled_from(({}, {VIP: OTHER}))),
        ripe_at=draw(st.dictionaries(st.just(VIP), times)),
        trusted_from=draw(st.one_of(st.none(), times)),
        held_off_until=draw(times),
    )
    return claims, around


@given(surroundings())
def test_nothing_is_answered_that_another_may_have(drawn: tuple[dict[str, Seen], Around]) -> None:
    claims, around = drawn
    records = {address: FloatingAddress(address=address) for address in (VIP, "198.18.0.51")}
    decision = decide(ME, records, claims, NODES, around, LAN)
    for address, right in decision.rights.items():
        claim = claims.get(address)
        if right is Right.UP:
            assert claim is not None
            assert (claim.claim.node, claim.lease) == (ME, around.lease)
            assert around.now >= around.ripe_at.get(address, 0.0)
        if right is not Right.DOWN:
            assert around.is_in_contact
            assert address not in around.doubted
            assert claim is None or claim.claim.node == ME
        if right is Right.KEEP:
            assert around.now < around.until


@given(surroundings())
def test_a_claim_is_taken_in_one_of_three_ways(drawn: tuple[dict[str, Seen], Around]) -> None:
    claims, around = drawn
    decision = decide(ME, {VIP: RECORD}, claims, NODES, around, LAN)
    for write in decision.writes:
        if not write.is_take:
            continue
        assert around.lease
        assert around.is_in_contact
        claim = claims.get(write.address)
        assert write.expected == (claim.revision if claim is not None else 0)
        holder = claim.claim.node if claim is not None else around.last_holder.get(VIP)
        if claim is not None and holder not in {ME, ""}:
            assert holder in around.convicted
        if claim is None and not write.is_fast and VIP not in around.up:
            gone_s = around.free_since.get(VIP, around.now)
            assert around.now >= gone_s + LAN.address_grace_s + LAN.claim_margin_s
            assert around.trusted_from is not None
            assert around.now >= max(around.trusted_from, around.held_off_until)
        if write.is_fast:
            assert write.words == {keys.suspect(OTHER, p): r for p, r in WORDS[OTHER].items()}


@given(
    st.sets(st.integers(1, 40), min_size=1, max_size=12),
    st.sets(st.sampled_from(NAMES), min_size=1),
    st.data(),
)
def test_addresses_spread_and_only_those_of_who_is_gone_move(
    numbers: set[int], well: set[NodeName], data: st.DataObject
) -> None:
    records = {f"198.18.9.{n}": FloatingAddress(address=f"198.18.9.{n}") for n in numbers}
    nodes = [NodeNow(node_spec(name), name in well) for name in NAMES]
    first = homes(records, {}, nodes, frozenset())
    held = {address: ranking[0] for address, ranking in first.items()}
    loads = [list(held.values()).count(name) for name in sorted(well)]
    assert max(loads) - min(loads) <= 1
    assert all(set(ranking) == well for ranking in first.values())

    gone = data.draw(st.sampled_from(sorted(well)))
    claims = {address: FloatingClaim(node=node) for address, node in held.items()}
    left = [NodeNow(node_spec(name), name in well - {gone}) for name in NAMES]
    assert homes(records, claims, left, {gone}).keys() == {a for a, n in held.items() if n == gone}
    assert homes(records, claims, nodes, frozenset()) == {}, "who comes back takes nothing"


@given(
    st.dictionaries(
        st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), st.sampled_from(Silence)
    ),
    st.sets(st.sampled_from(NAMES)),
)
def test_agents_and_leader_convict_by_the_same_rule(
    said: dict[tuple[NodeName, NodeName], Silence], present: set[NodeName]
) -> None:
    words: dict[NodeName, dict[NodeName, tuple[Silence, Revision]]] = {}
    for (node, peer), silence in said.items():
        words.setdefault(node, {})[peer] = (silence, Revision(1))
    found = convicted(words, frozenset(NAMES), present)
    states = {
        name: NodeState(
            spec=node_spec(name),
            alive=name in present,
            suspected_by={peer: what for peer, (what, _) in words.get(name, {}).items()},
        )
        for name in NAMES
    }
    leaders = word(World(nodes=states))
    confirmed = {name for name in NAMES if leaders.is_confirmed(name)}
    assert found.keys() <= confirmed
    assert all(tuple(peers) == leaders.host[node] for node, peers in found.items())


@given(st.lists(st.one_of(st.none(), st.floats(0, 100)), max_size=3))
def test_contact_lasts_while_too_few_could_convict(answered: list[float | None]) -> None:
    until = contact_until(dict(zip(NAMES, answered, strict=False)), 0.28)
    if len(answered) < 2:
        assert until is None
        return
    assert until is not None
    silent = [at for at in answered if at is None or at + 0.28 <= until]
    assert len(silent) >= 2
    earlier = until - 0.01
    assert len([at for at in answered if at is None or at + 0.28 <= earlier]) < 2 or until < 0


# ------------------------------------------------------------ one by one


def test_one_that_was_let_go_is_taken_at_once_and_asked_about_unless_it_was_handed_over() -> None:
    first = next(name for name in homes({VIP: RECORD}, {}, NODES, frozenset())[VIP])
    decision = judge(seen("", heir=ME))
    assert only(decision) == Write(
        address=VIP, claim=FloatingClaim(node=ME), expected=Revision(90), is_asked=False
    )
    # Where no interface has its network the kernel says so, and the next one takes it.
    assert only(judge(seen("", heir=ME), segments=("198.18.7.0/24",))).is_asked
    decision = judge(seen("", heir=first), nodes=NODES)
    if first == ME:
        assert only(decision).is_asked is False
    else:
        assert decision.writes == ()
        assert decision.wake_in_s is not None


def test_the_second_choice_waits_for_the_first() -> None:
    ranking = homes({VIP: RECORD}, {}, NODES, frozenset())[VIP]
    rank = ranking.index(ME)
    free = {VIP: QUIET.now - rank * NEXT_S}
    assert only(judge(seen(""), free_since=free)).is_asked
    if rank:
        assert judge(seen(""), free_since={VIP: QUIET.now}).writes == ()


def test_a_convicted_holder_s_is_taken_by_the_word_of_its_watchers() -> None:
    long_ago = {OTHER: QUIET.now - 5}
    write = only(judge(seen(OTHER), convicted=WORDS, convicted_since=long_ago))
    assert write.is_fast
    assert write.words == {
        keys.suspect(OTHER, ME): Revision(70),
        keys.suspect(OTHER, THIRD): Revision(71),
    }
    assert judge(seen(OTHER)).writes == ()


def test_a_claim_of_the_agent_before_us_is_renewed_and_kept_meanwhile() -> None:
    decision = judge(seen(ME, lease=6), up=frozenset({VIP}))
    assert decision.rights == {VIP: Right.KEEP}
    assert only(decision).claim == FloatingClaim(node=ME, since_s=1.0)


def test_a_move_a_cordon_and_a_label_let_it_go_and_a_suspicion_does_not() -> None:
    moved = FloatingAddress(address=VIP, moves=2, move_to=OTHER)
    assert only(judge(seen(ME), record=moved)).claim == FloatingClaim(
        heir=OTHER, moves=2, since_s=1.0
    )
    assert judge(seen(ME, moves=2), record=moved).rights == {VIP: Right.UP}

    cordoned = msgspec.structs.replace(node_spec(ME), availability=Availability.CORDONED)
    left = only(judge(seen(ME), nodes=(NodeNow(cordoned), *NODES[1:])))
    assert left.claim == FloatingClaim(since_s=1.0)
    assert judge(seen(ME), nodes=(NodeNow(cordoned),)).rights == {VIP: Right.UP}

    edge = FloatingAddress(address=VIP, constraints=(Constraint(key="node.labels.e", value="y"),))
    assert only(judge(seen(ME), record=edge)).claim == FloatingClaim(since_s=1.0)
    assert candidates(edge, NODES) == frozenset()

    suspected = (NodeNow(node_spec(ME), is_well=False), *NODES[1:])
    assert judge(seen(ME), nodes=suspected).rights == {VIP: Right.UP}


def test_one_that_nobody_asks_for_any_more_is_dropped_and_its_claim_with_it() -> None:
    decision = decide(ME, {}, seen(ME), NODES, QUIET, LAN)
    assert decision.rights == {VIP: Right.DOWN}
    assert only(decision).claim is None
    assert decide(ME, {}, seen(OTHER), NODES, QUIET, LAN).writes == ()
