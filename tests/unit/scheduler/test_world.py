"""Suspicions and claims as they are read: what is not sound is named, never guessed at."""

from hypothesis import given
from hypothesis import strategies as st

from scheduler.reading import WorldReader
from scheduler.world import World
from shared import codec, keys
from shared.model import (
    AllocId,
    Claim,
    FloatingAddress,
    FloatingClaim,
    GatewayWord,
    Leader,
    Manifest,
    Network,
    NodeName,
    Record,
    Revision,
    ServiceName,
    Session,
    Silence,
    StackName,
    Suspicion,
)
from shared.store import KeyValue, Snapshot
from shared.view import View
from tests.build import node_spec, service, stack

ONE, TWO, THREE = (NodeName(f"node-{number}") for number in (1, 2, 3))
SHOP, WEB = StackName("shop"), ServiceName("web")


_EVERY_KEY = {
    keys.node_spec(ONE): node_spec(ONE),
    keys.node_alive(ONE): Session(node=ONE, boot_id="boot", version="1"),
    keys.desired(ONE): Manifest(node=ONE, generation=1),
    keys.suspect(ONE, TWO): Suspicion(node=ONE, peer=TWO, silence=Silence.HOST),
    keys.claim(SHOP, WEB, 1): Claim(node=ONE, allocation=AllocId("shop.web.1.a"), epoch=1),
    keys.stack(SHOP): stack(SHOP, service("web"), generation=1),
    keys.floating("10.0.0.9"): FloatingAddress(address="10.0.0.9"),
    keys.vip("10.0.0.9"): FloatingClaim(),
    keys.gateway(ONE): GatewayWord(node=ONE, trouble="port 443 is taken"),
    keys.network("shared"): Network(name="shared"),
    keys.LEADER: Leader(node=ONE, since_s=1.0),
}


@given(
    st.lists(
        st.tuples(
            st.integers(1, 9),
            st.dictionaries(
                st.sampled_from(sorted(_EVERY_KEY)),
                st.sampled_from(["written", "garbled", "removed"]),
                max_size=3,
            ),
        ),
        max_size=8,
    )
)
def test_what_is_read_change_by_change_is_what_is_read_at_once(
    steps: list[tuple[int, dict[str, str]]],
) -> None:
    reader, view, items = WorldReader(), View(_nothing), dict[str, KeyValue]()
    # A store that was lost and filled anew may be at a revision that was seen before.
    for number, step in steps:
        at = Revision(number)
        for key, what in step.items():
            items.pop(key, None)
            value = codec.encode(_EVERY_KEY[key]) if what == "written" else b"{"
            if what != "removed":
                items[key] = KeyValue(key=key, value=value, create_revision=at, mod_revision=at)
        view.replace(Snapshot(tuple(items.values()), at))
        assert reader.read(view) == WorldReader().read(view)


def _nothing() -> None:
    pass


def read(records: dict[str, Record | bytes]) -> World:
    specs: dict[str, Record | bytes] = {
        keys.node_spec(name): node_spec(name) for name in (ONE, TWO, THREE)
    }
    items = [
        KeyValue(
            key=key,
            value=each if isinstance(each, bytes) else codec.encode(each),
            create_revision=Revision(1),
            mod_revision=Revision(1),
        )
        for key, each in {**specs, **records}.items()
    ]
    view = View(_nothing)
    view.replace(Snapshot(tuple(items), Revision(5)))
    return WorldReader().read(view)


@given(
    st.dictionaries(st.tuples(*[st.sampled_from([ONE, TWO, THREE])] * 2), st.sampled_from(Silence))
)
def test_every_suspicion_is_found_at_its_node_under_its_peer(
    said: dict[tuple[NodeName, NodeName], Silence],
) -> None:
    found = read(
        {
            keys.suspect(node, peer): Suspicion(node=node, peer=peer, silence=silence)
            for (node, peer), silence in said.items()
        }
    )
    assert {
        (name, peer): silence
        for name, state in found.nodes.items()
        for peer, silence in state.suspected_by.items()
    } == said


def test_a_suspicion_under_another_s_key_is_nobody_s_word() -> None:
    forged = Suspicion(node=ONE, peer=TWO, silence=Silence.HOST)
    found = read({keys.suspect(ONE, THREE): forged, keys.suspect(TWO, THREE): forged})
    assert all(state.suspected_by == {} for state in found.nodes.values())


def test_of_a_node_that_is_not_registered_nothing_is_known() -> None:
    other = NodeName("node-9")
    found = read({keys.suspect(other, ONE): Suspicion(node=other, peer=ONE, silence=Silence.HOST)})
    assert set(found.nodes) == {ONE, TWO, THREE}


def test_a_garbled_suspicion_or_claim_is_named_and_stops_nothing() -> None:
    garbled = [keys.suspect(ONE, TWO), keys.claim(SHOP, WEB, 1)]
    found = read(dict.fromkeys(garbled, b"{"))
    assert sorted(found.unreadable) == sorted(garbled)
    assert not found.is_frozen
    assert found.frozen_stacks == frozenset()
    assert (found.claims, found.nodes[ONE].suspected_by) == ({}, {})


@given(st.dictionaries(st.integers(1, 200), st.sampled_from(["", "node-1"]), max_size=5))
def test_every_claim_is_found_under_its_slot_one_that_was_let_go_too(slots: dict[int, str]) -> None:
    claims = {
        slot: Claim(node=NodeName(holder), allocation=AllocId(f"shop.web.{slot}.a"), epoch=slot)
        for slot, holder in slots.items()
    }
    found = read({keys.claim(SHOP, WEB, slot): claim for slot, claim in claims.items()})
    assert found.claims == {(SHOP, WEB, slot): claim for slot, claim in claims.items()}


def test_a_claim_under_a_key_that_names_no_slot_is_left_out() -> None:
    claim = Claim(node=ONE, allocation=AllocId("shop.web.1.a"), epoch=1)
    odd = ("shop.web", "shop.web.one", "shop.web.1.2", "shop.web.-1")
    assert read({keys.CLAIMS + name: claim for name in odd}).claims == {}
