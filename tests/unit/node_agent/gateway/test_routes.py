"""What is rendered for ports and routes, and what of a change needs a reload."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from node_agent.gateway import edge
from node_agent.gateway.config import Place, Served, render
from node_agent.gateway.slots import Table, next_table
from node_agent.gateway.wanted import EDGE, of_service, shapes
from shared.model import (
    HttpRoute,
    Protocol,
    PublishedPort,
    ServiceName,
    ServiceRoutes,
    StackName,
    Traffic,
    choose,
)

SHOP = StackName("shop")
PLACE = Place(admin_socket="a", metrics_socket="m", descriptors=2000, folder="/run/x")
HTTP_PORT = PublishedPort(published=8080, target=80, protocol=Protocol.HTTP)


def of(
    *routes: HttpRoute, ports: tuple[PublishedPort, ...] = (), traffic: Traffic | None = None
) -> tuple[Served, ...]:
    service = ServiceRoutes(
        service=ServiceName("web"),
        ports=ports,
        routes=routes,
        traffic=traffic if traffic is not None else Traffic(),
    )
    return tuple(of_service(SHOP, service, next_table(Table(), service)))


def at(place: str, port: int = 80) -> HttpRoute:
    host, slash, path = place.partition("/")
    return HttpRoute(host=host, path=slash + path or "/", port=port)


def test_a_route_shares_the_backends_of_the_port_that_leads_where_it_leads() -> None:
    found = of(at("a"), at("b", 81), ports=(HTTP_PORT,))
    assert [(one.backend, [r.host for r in one.routes]) for one in found] == [
        ("shop.web.8080", ["a"]),
        ("shop.web.to81", ["b"]),
    ]


def test_of_two_ports_that_lead_there_the_first_has_the_route() -> None:
    second = msgspec.structs.replace(HTTP_PORT, published=8081)
    found = of(at("a"), ports=(HTTP_PORT, second))
    assert [len(one.routes) for one in found] == [1, 0]


def test_a_tcp_port_is_no_way_for_a_route() -> None:
    tcp = msgspec.structs.replace(HTTP_PORT, protocol=Protocol.TCP)
    assert [one.backend for one in of(at("a"), ports=(tcp,))] == ["shop.web.8080", "shop.web.to80"]


def test_what_the_kernel_balances_is_not_the_gateways() -> None:
    udp = PublishedPort(published=53, target=53, protocol=Protocol.UDP)
    own = PublishedPort(published=54, target=54, is_host=True)
    assert of(ports=(udp, own)) == ()


def test_without_a_route_there_is_no_edge() -> None:
    found = of(ports=(HTTP_PORT,))
    assert EDGE not in shapes(found, PLACE)
    assert "hafen:" not in render(found, PLACE, edge.render(found, PLACE))


def test_a_further_route_needs_no_reload_and_what_is_rendered_does() -> None:
    one = of(at("a"))
    assert shapes(of(at("a"), at("b/c")), PLACE) == shapes(one, PLACE)
    for traffic in (
        Traffic(hold_s=3),
        Traffic(idempotency_header="x"),
        Traffic(timeout_s=3),
        Traffic(resend=False),
        Traffic(max_body_bytes=3),
    ):
        assert shapes(of(at("a"), traffic=traffic), PLACE) != shapes(one, PLACE)
    trusting = msgspec.structs.replace(PLACE, trusted_proxies=["198.18.0.0/24"])
    assert shapes(one, trusting) != shapes(one, PLACE)


PATHS = st.lists(st.sampled_from("ab"), max_size=3).map(lambda parts: "/" + "/".join(parts))
HOSTS = st.sampled_from(["x", "x.org", "*.org", "*.x.org", "a.x.org"])
PLACES = st.builds(lambda host, path: host + path.rstrip("/"), HOSTS, PATHS)


@given(st.lists(PLACES, unique=True), HOSTS.map(lambda host: host.replace("*", "w")), PATHS)
def test_the_longest_beginning_in_the_map_is_the_route_that_is_chosen(
    places: list[str], host: str, path: str
) -> None:
    routes = [at(place, 80 + number) for number, place in enumerate(places)]
    found = of(*routes)
    entries = edge.entries(found)
    _, dot, rest = host.partition(".")
    value = ""
    for name in (host, f"*.{rest}" if dot else "*"):
        keys = [key for key in entries if f"{name}{path}/".startswith(key)]
        value = value or (entries[max(keys, key=len)] if keys else "")
    chosen = choose(routes, host, path)
    assert edge.backend_of(value) == (f"shop.web.to{chosen.port}" if chosen is not None else "")


MAPS = st.dictionaries(st.sampled_from("abcde"), st.sampled_from("xyz"))


@given(MAPS, MAPS)
def test_the_commands_make_one_map_of_the_other(now: dict[str, str], then: dict[str, str]) -> None:
    has = dict(now)
    for command in edge.updates("/run/m", now, then):
        verb, _, _, key, *value = command.split()
        assert (verb == "add") == (key not in has)
        if verb == "del":
            del has[key]
        else:
            (has[key],) = value
    assert has == then
    assert edge.updates("/run/m", then, then) == []


def test_a_map_is_read_back() -> None:
    answer = "0x55 a.org/ shop.web.to80|shop.web|off|0|x\n0x56 b/ c\n\n"
    assert edge.shown(answer) == {"a.org/": "shop.web.to80|shop.web|off|0|x", "b/": "c"}


def test_slots_of_now_are_in_the_text_and_not_in_the_shape() -> None:
    (one,) = of(at("a"))
    other = msgspec.structs.replace(one, table=Table(slots=one.table.slots[:-1]))
    assert render([one], PLACE) != render([other], PLACE)
    assert shapes([one], PLACE)["shop.web.to80"].endswith(f" {len(one.table.slots)}")
