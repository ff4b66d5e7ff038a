"""What a name server makes of what it is told by pieces is what it would make of all of it."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.names.snapshot import Snapshot
from node_agent.names.table import Kept, Service, Table
from node_agent.names.telling import Listener, Teller
from shared.errors import CodecError
from shared.model import Endpoint, EndpointState, Network, Routes, ServiceRoutes
from tests.build_names import OWN, local, replica, routes, service, snapshot

# So few that stacks have the same ones, as while an address passes from one to another.
ADDRESSES = ("198.19.1.2", "198.19.1.3", "198.19.1.4")
ENDPOINTS = st.builds(
    replica,
    st.sampled_from(("shop.web.1.a", "shop.web.2.b")),
    st.sampled_from(("", *ADDRESSES)),
    st.sampled_from(EndpointState),
    addresses=st.sampled_from(((), ("198.19.1.4",))),
)
SERVICES = st.builds(
    lambda name, endpoints, on, vip: service(name, *endpoints, on=on, vip=vip),
    st.sampled_from(("db", "web")),
    st.lists(ENDPOINTS, max_size=3),
    st.sampled_from((("front",), ("back:www,Api",), ("back:db", "front:db"))),
    st.sampled_from(("", "198.19.254.1", "198.19.254.2")),
)
NETWORKS = st.builds(Network, name=st.sampled_from(("back", "front")), internal=st.booleans())
STACKS = st.builds(
    lambda stack, own, networks: routes(stack, *own, networks=networks),
    st.sampled_from(("blog", "shop")),
    st.lists(SERVICES, max_size=2),
    st.lists(NETWORKS, max_size=1),
)
CONTAINERS = st.lists(st.builds(local, st.sampled_from(ADDRESSES), st.just("back")), max_size=2)


@st.composite
def histories(draw: st.DrawFn) -> list[Snapshot]:
    """Return what is told at several moments: some of it is the same object again."""
    stacks = draw(st.lists(STACKS, min_size=1, max_size=4))
    containers = [tuple(some) for some in draw(st.lists(CONTAINERS, min_size=1, max_size=2))]
    return [
        snapshot(
            *draw(st.lists(st.sampled_from(stacks), max_size=3)),
            containers=draw(st.sampled_from(containers)),
        )
        for _ in range(draw(st.integers(1, 5)))
    ]


def services_of(found: list[Service]) -> list[tuple[str, ServiceRoutes, frozenset[str]]]:
    return [(each.stack, each.routes, each.networks) for each in found]


def plain(table: Table) -> tuple[object, ...]:
    """Return all that is in a table, to be compared."""
    replicas = {key: (one.routes, end) for key, (one, end) in table.replicas.items()}
    return (
        {name: services_of(found) for name, found in table.named.items()},
        {key: one.routes for key, one in table.of_stack.items()},
        {name: [(on, one.routes) for on, one in some] for name, some in table.aliases.items()},
        {address: one.routes for address, one in table.virtual.items()},
        replicas,
        [table.asker(address) for address in ADDRESSES],
    )


@given(histories())
def test_a_table_of_what_is_kept_is_the_one_made_anew(history: list[Snapshot]) -> None:
    kept = Kept()
    for each in history:
        assert plain(Table(each, OWN, kept)) == plain(Table(each, OWN))


def replicas_of(all_: tuple[Routes, ...]) -> dict[str, Endpoint]:
    """Return who has each address: the first that does not drain, else the last."""
    found: dict[str, Endpoint] = {}
    for stack in all_:
        for own in stack.services:
            for endpoint in own.endpoints:
                for address in (endpoint.address, *endpoint.addresses):
                    if found.get(address, endpoint).state is EndpointState.DRAINING:
                        found[address] = endpoint
                    found.setdefault(address, endpoint)
    return found


@given(histories())
def test_an_address_is_that_of_who_takes_requests_first(history: list[Snapshot]) -> None:
    for each in history:
        found = {address: end for address, (_, end) in Table(each).replicas.items()}
        assert found == replicas_of(each.routes)


@given(histories(), st.data())
def test_what_is_told_by_pieces_is_what_is_told_whole(
    history: list[Snapshot], data: st.DataObject
) -> None:
    teller, listener, has = Teller(), Listener(), set[str]()
    for each in history:
        telling = teller.of(each)
        assert telling.digest == Teller().of(each).digest
        if data.draw(st.booleans()):  # Another one has taken its place.
            listener, has = Listener(), set()
        believed = data.draw(st.sets(st.sampled_from(sorted(telling.pieces)))) | has
        heard = listener.hear(telling.wire(believed), "it")
        if believed & telling.pieces.keys() <= has:
            assert heard == (telling.digest, each)
        else:
            assert heard is None
            assert listener.hear(telling.wire(), "it") == (telling.digest, each)
        has = set(telling.pieces)


@given(histories())
def test_what_differs_has_another_digest(history: list[Snapshot]) -> None:
    for one in history:
        for other in history:
            assert (Teller().of(one).digest == Teller().of(other).digest) == (one == other)


def test_a_piece_that_is_not_what_it_is_called_is_refused() -> None:
    telling, listener = Teller().of(snapshot(routes("shop"))), Listener()
    (name,) = telling.head.routes
    with pytest.raises(CodecError, match="not what its name says"):
        listener.hear(telling.wire().replace(b'"shop"', b'"chop"'), "it")
    torn = telling._replace(pieces={**telling.pieces, name: msgspec.Raw(b"{}")})
    with pytest.raises(CodecError, match="not what its name says"):
        listener.hear(torn.wire(), "it")
    assert listener.hear(telling.wire(), "it") is not None


def test_one_of_before_takes_no_message_for_a_snapshot() -> None:
    for each in (snapshot(), snapshot(routes("shop"), containers=[local("198.19.1.2", "back")])):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(Teller().of(each).wire(), type=Snapshot)
