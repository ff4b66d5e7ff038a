"""What a gateway remembers of services gives what it would find anew, after any history."""

from collections.abc import Mapping
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from node_agent.gateway.config import Place
from node_agent.gateway.edge import entries
from node_agent.gateway.known import Known
from node_agent.gateway.saved import Saved, SavedFile
from node_agent.gateway.slots import Table
from node_agent.gateway.wanted import AllRoutes, shapes
from shared import codec
from shared.model import (
    AllocId,
    Endpoint,
    EndpointState,
    HttpRoute,
    NodeName,
    Protocol,
    PublishedPort,
    Revision,
    Routes,
    ServiceName,
    ServiceRoutes,
    StackName,
    Traffic,
)

PLACE = Place(admin_socket="admin", metrics_socket="metrics", descriptors=1000, folder="/run/x")
NO_FILE = Path("/nowhere/slots.json")
STACKS = ("blog", "shop")
MAPPED = 7
PORTS = (
    PublishedPort(published=8080, target=80, protocol=Protocol.HTTP),
    PublishedPort(published=8080, target=80),
    PublishedPort(published=0, target=81, protocol=Protocol.HTTP),
)
ROUTE = HttpRoute(host="shop.example", port=80)


def endpoint(number: int, state: EndpointState) -> Endpoint:
    id_, address = AllocId(f"shop.web.{number}.a"), f"198.19.1.{number + 1}"
    # Numbers as keys take another way into JSON.
    targets = {8080: 32768} if number > MAPPED else {}
    return Endpoint(
        allocation=id_,
        node=NodeName("node-1"),
        address=address,
        state=state,
        targets=targets,
    )


def service(
    name: str, states: dict[int, EndpointState], ports: list[PublishedPort], routed: int
) -> ServiceRoutes:
    return ServiceRoutes(
        service=ServiceName(name),
        ports=tuple(ports[:1]),
        endpoints=tuple(endpoint(number, states[number]) for number in sorted(states)),
        replicas=len(states),
        routes=(ROUTE,) if routed else (),
        traffic=Traffic(access_log=routed > 1),
    )


SERVICES = st.lists(
    st.builds(
        service,
        st.sampled_from(("db", "web")),
        st.dictionaries(st.integers(1, 9), st.sampled_from(EndpointState), max_size=4),
        st.lists(st.sampled_from(PORTS), max_size=1),
        st.integers(0, 2),
    ),
    max_size=2,
    unique_by=lambda each: each.service,
)


@st.composite
def histories(draw: st.DrawFn) -> list[AllRoutes]:
    """Return what all stacks ask for, at several moments: some of it is the same object again."""
    named = st.builds(
        lambda stack, own: Routes(stack=StackName(stack), services=tuple(own)),
        st.sampled_from(STACKS),
        SERVICES,
    )
    pool = draw(st.lists(named, min_size=1, max_size=4))
    moments = draw(st.lists(st.lists(st.sampled_from(pool), max_size=3), min_size=1, max_size=6))
    return [{each.stack: (Revision(1), each) for each in some} for some in moments]


HISTORIES = histories()
PLACES = (PLACE, msgspec.structs.replace(PLACE, has_six=False))


@given(HISTORIES, st.data())
def test_what_is_known_is_what_would_be_found(
    history: list[AllRoutes], data: st.DataObject
) -> None:
    known, file = Known(), SavedFile(NO_FILE)
    before: Mapping[str, Table] = {}
    seen = [before]
    for routes in history:
        tables = known.tables(routes, before)
        assert tables == Known().tables(routes, before)
        assert all(known.tables(routes, some) == Known().tables(routes, some) for some in seen)
        bare = Known().tables(routes, {})
        assert known.served(routes, bare) == Known().served(routes, bare)
        served = known.served(routes, tables)
        assert served == Known().served(routes, tables)
        for place in PLACES:
            assert known.shapes(served, place) == shapes(served, place)
        assert known.entries(served) == entries(served)
        saved = Saved(tables=tables, opened=known.shapes(served, PLACE))
        assert file.encoded(saved) == codec.encode(saved)
        # A pass may fail before it is noted: then the next one begins where an earlier one did.
        seen.append(tables)
        before = data.draw(st.sampled_from(seen))


@given(HISTORIES)
def test_what_has_not_changed_is_the_same_object(history: list[AllRoutes]) -> None:
    known = Known()
    before: Mapping[str, Table] = {}
    for routes in history:
        before = known.tables(routes, before)
        again = known.tables(routes, before)
        assert all(again[key] is before[key] for key in before)
        pairs = zip(known.served(routes, before), known.served(routes, again), strict=True)
        assert all(one is other for one, other in pairs)
