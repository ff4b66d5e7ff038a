"""Which remembered connections lead nowhere."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from node_agent.balance.flows import (
    ESTABLISHED,
    QUIET_S,
    TCP,
    UDP,
    Entrance,
    Flow,
    Memory,
    Reach,
    busy,
    entrances,
    stale,
    suspects,
)
from node_agent.balance.table import Found
from shared.model import AllocId

VIP, OTHER, OWN = "198.18.200.1", "198.18.200.2", "198.18.0.1"
A, B, C = "198.19.1.2", "198.19.2.2", "198.19.3.2"
OLD, NEW = AllocId("shop.web.1.old"), AllocId("shop.web.2.new")
WEB = Entrance(address=VIP)
DNS = Entrance(protocol="udp", port=53)
HTTP = Entrance(protocol="tcp", port=80)

_sets = st.frozensets(st.sampled_from((A, B, C)))
_reaches = st.builds(
    lambda listed, served: Reach(listed=listed | served, served=served), _sets, _sets
)
_before = st.dictionaries(st.sampled_from((WEB, DNS, HTTP)), st.none() | _reaches)
_after = st.dictionaries(st.sampled_from((WEB, DNS, HTTP)), _reaches)
_flows = st.builds(
    Flow,
    protocol=st.sampled_from((TCP, UDP, 1)),
    source=st.just("198.19.1.9"),
    to=st.sampled_from((VIP, OTHER, OWN, "198.18.0.99")),
    to_port=st.sampled_from((53, 80, 443)),
    reply_source=st.sampled_from((A, B, C, VIP, OWN)),
)


def flow(to: str, reply: str, protocol: int = UDP, port: int = 0) -> Flow:
    return Flow(protocol=protocol, source="198.19.1.9", to=to, to_port=port, reply_source=reply)


@given(_before, _after, _flows)
def test_only_what_changed_needs_to_be_looked_through(
    before: dict[Entrance, Reach | None], after: dict[Entrance, Reach], one: Flow
) -> None:
    """A connection that was right and is wrong now is among the suspects' connections."""
    known = {entrance: reach for entrance, reach in before.items() if reach is not None}
    everything = {**{entrance: Reach() for entrance in before.keys() - after.keys()}, **after}
    own = frozenset((OWN,))
    is_wrong = bool(stale([one], everything, own))
    was_right = len(known) == len(before) and not stale([one], known, own)
    if is_wrong and was_right:
        assert stale([one], suspects(before, after), own)


@given(_reaches, _flows)
def test_what_leads_to_an_endpoint_that_takes_it_is_left_alone(reach: Reach, one: Flow) -> None:
    if one.reply_source in reach.served:
        assert stale([one], {WEB: reach, DNS: reach, HTTP: reach}, frozenset((OWN,))) == ()


@given(_reaches, _flows)
def test_other_peoples_connections_are_left_alone(reach: Reach, one: Flow) -> None:
    if one.to not in {VIP, OWN}:
        assert stale([one], {WEB: reach, DNS: reach, HTTP: reach}, frozenset((OWN,))) == ()


def test_datagrams_go_only_where_they_are_sent_and_open_connections_wherever_one_is() -> None:
    reach = Reach(listed=frozenset((A, B)), served=frozenset((A,)))
    flows = [flow(VIP, where, protocol) for where in (A, B, C) for protocol in (TCP, UDP)]
    gone = stale(flows, {WEB: reach}, frozenset())
    assert [(one.reply_source, one.protocol) for one in gone] == [(B, UDP), (C, TCP), (C, UDP)]


def test_what_was_never_rewritten_is_forgotten() -> None:
    reach = Reach(listed=frozenset((A,)), served=frozenset((A,)))
    pinned = flow(VIP, VIP), flow(OWN, OWN, UDP, 53)
    assert stale(pinned, {WEB: reach, DNS: reach}, frozenset((OWN,))) == pinned


def test_a_program_of_the_host_keeps_its_open_connections() -> None:
    flows = [flow(OWN, OWN, TCP, 80)]
    assert stale(flows, {HTTP: Reach()}, frozenset((OWN,))) == ()


def test_the_same_port_of_somebody_else_is_not_ours() -> None:
    assert (
        stale([flow("198.18.0.99", "198.18.0.99", UDP, 53)], {DNS: Reach()}, frozenset((OWN,)))
        == ()
    )


def test_only_a_client_that_is_connected_waits() -> None:
    states = {
        state: Flow(protocol=TCP, source=A, to=VIP, reply_source=B, state=state).is_open
        for state in range(10)
    }
    assert [state for state, is_open in states.items() if is_open] == [3, 4, 5]


@given(_flows, st.integers(0, 9), st.sampled_from((WEB, DNS, HTTP)), st.integers(0, 600))
def test_an_endpoint_that_drains_is_busy_with_what_is_open_by_its_entrance(
    given_flow: Flow, state: int, entrance: Entrance, left_s: int
) -> None:
    memory = Memory(established_s=600, unacknowledged_s=60)
    one = msgspec.structs.replace(
        given_flow, state=state if given_flow.protocol == TCP else 0, left_s=left_s
    )
    here = (one.to == VIP, one.to == OWN and (one.protocol, one.to_port) == (TCP, 80))
    is_by = here[0] if entrance == WEB else entrance == HTTP and here[1]
    found = busy([one], {entrance: ((A, OLD), (B, NEW))}, frozenset((OWN,)), memory)
    is_used = one.is_open and not (one.state == ESTABLISHED and 60 < left_s <= 600 - QUIET_S)
    reached = {A: OLD, B: NEW}.get(one.reply_source) if is_by and is_used else None
    assert found == ({reached} if reached else set())


def test_the_kernels_entrances_are_read_from_its_maps() -> None:
    found = Found(maps={"vips": {VIP: "vip.a.b"}, "ports": {"udp . 53": "x", "tcp . 80": "y"}})
    assert entrances(found) == {WEB, DNS, HTTP}
