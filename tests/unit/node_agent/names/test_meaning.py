"""What a name means to who asks."""

import ipaddress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from node_agent.names.meaning import (
    ENDPOINT_TTL_S,
    VIP_TTL_S,
    Addresses,
    Elsewhere,
    Meaning,
    Nothing,
    Pointer,
    meaning_of,
)
from node_agent.names.table import HOST, Asker, Table
from node_agent.network.addresses import six_of
from shared.model import EndpointState, Network, Routes
from tests.build_names import OWN, POOL6, local, replica, routes, service, snapshot, table

ASKER = "198.19.1.9"
DRAINING, PRESENT = EndpointState.DRAINING, EndpointState.PRESENT

SHOP = routes(
    "shop",
    service("web", replica("shop.web.1.a", "198.19.1.2"), vip="198.19.254.1", replicas=3),
    service(
        "db",
        replica("shop.db.1.a", "198.19.1.3"),
        replica("shop.db.2.b", "198.19.2.3"),
        on=("shop_default:postgres,db.internal.example", "shared:maindb"),
        replicas=2,
    ),
    service("secret", replica("shop.secret.1.a", "198.19.1.4"), on=("shop_back",)),
)
OTHER = routes(
    "other",
    service("web", replica("other.web.1.a", "198.19.1.5"), on=("shared",), vip="198.19.254.2"),
    service("mail", replica("other.mail.1.a", "198.19.1.6"), on=("shared", "other_default")),
    service("hidden", replica("other.hidden.1.a", "198.19.1.7"), on=("other_default",)),
)


def asked(
    name: str,
    *stacks: Routes,
    on: tuple[str, ...] = ("shop_default",),
    stack: str = "shop",
) -> Meaning:
    found = table(*(stacks or (SHOP, OTHER)), containers=[local(ASKER, *on, stack=stack)])
    asker = found.asker(ASKER)
    assert asker is not None
    return meaning_of(found, asker, tuple(name.split(".")))


def both(*addresses: str) -> tuple[str, ...]:
    """Return IPv4 addresses, each with the IPv6 one that goes with it."""
    return tuple(one for address in addresses for one in (address, six_of(POOL6, address)))


def replicas(*addresses: str) -> Addresses:
    return Addresses(both(*addresses), ENDPOINT_TTL_S, rotates=True)


def virtual(address: str) -> Addresses:
    return Addresses(both(address), VIP_TTL_S)


@pytest.mark.parametrize("end", ["", ".hafen.internal"])
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("web", virtual("198.19.254.1")),
        ("web.shop", virtual("198.19.254.1")),
        ("tasks.web", replicas("198.19.1.2")),
        ("tasks.web.shop", replicas("198.19.1.2")),
        ("1.web", replicas("198.19.1.2")),
        ("2.web", Nothing(exists=True)),
        ("9.web", Nothing(exists=False)),
        ("db", replicas("198.19.1.3", "198.19.2.3")),
        ("2.db", replicas("198.19.2.3")),
        ("2.db.shop", replicas("198.19.2.3")),
        ("postgres", replicas("198.19.1.3", "198.19.2.3")),
        ("db.internal.example", replicas("198.19.1.3", "198.19.2.3")),
        ("2.postgres", replicas("198.19.2.3")),
        ("shop.db.2.b", replicas("198.19.2.3")),
        ("shop.db.2.c", Nothing(exists=False)),
    ],
)
def test_every_name_of_a_service(name: str, meant: Meaning, end: str) -> None:
    assert asked(name + end) == meant


@pytest.mark.parametrize("name", ["secret", "maindb", "mail", "nosuch", "0", "tasks", "1"])
def test_a_short_name_that_is_not_seen_is_nothing(name: str) -> None:
    assert asked(name) == Nothing(exists=False)
    assert asked(f"{name}.hafen.internal") == Nothing(exists=False)


@pytest.mark.parametrize(
    "name", ["secret.shop", "mail.other", "tasks.secret", "1.secret", "shop.secret.1.a", "a.b.c"]
)
def test_a_longer_name_that_is_not_seen_is_somebody_elses_but_not_in_our_zone(name: str) -> None:
    assert asked(name) == Elsewhere()
    assert asked(f"{name}.hafen.internal") == Nothing(exists=False)


def test_ones_own_stack_comes_first_then_aliases_then_other_stacks() -> None:
    on = ("shop_default", "shared")
    assert asked("web", on=on) == virtual("198.19.254.1")
    assert asked("web", on=on, stack="other") == virtual("198.19.254.2")
    assert asked("mail", on=on) == replicas("198.19.1.6")
    assert asked("maindb", on=("shared",), stack="other") == replicas("198.19.1.3", "198.19.2.3")
    aliased = routes("third", service("x", vip="198.19.254.9", on=("shared:mail",)))
    assert asked("mail", SHOP, OTHER, aliased, on=on) == virtual("198.19.254.9")


def test_of_other_stacks_services_of_one_name_only_one_answers() -> None:
    third = routes("third", service("mail", vip="198.19.254.9", on=("shared",)))
    assert asked("mail", SHOP, OTHER, third, on=("shared",)) == replicas("198.19.1.6")


def test_services_that_share_an_alias_answer_together() -> None:
    one = routes(
        "shop",
        service("a", vip="198.19.254.1", on=("shop_default:api",)),
        service("b", vip="198.19.254.2", on=("shop_default:api",)),
        service("c", vip="198.19.254.3", on=("shop_back:api",)),
    )
    found = both("198.19.254.1", "198.19.254.2")
    assert asked("api", one) == Addresses(found, VIP_TTL_S, rotates=True)


def test_a_virtual_address_answers_while_nobody_is_ready_and_replicas_do_not() -> None:
    one = routes("shop", service("web", vip="198.19.254.1"), service("db", replicas=0))
    assert asked("web", one) == virtual("198.19.254.1")
    assert asked("tasks.web", one) == Nothing(exists=True)
    assert asked("db", one) == Nothing(exists=True)


def test_what_drains_is_never_given_and_what_begins_only_by_its_own_name() -> None:
    one = routes(
        "shop",
        service(
            "db",
            replica("shop.db.1.a", "198.19.1.2", DRAINING),
            replica("shop.db.1.b", "198.19.1.3"),
            replica("shop.db.2.a", "198.19.1.4", PRESENT),
            replica("shop.db.3.a", "198.19.1.5", DRAINING),
            replicas=3,
        ),
    )
    assert asked("db", one) == asked("tasks.db", one) == replicas("198.19.1.3")
    assert asked("1.db", one) == replicas("198.19.1.3")
    assert asked("2.db", one) == asked("shop.db.2.a", one) == replicas("198.19.1.4")
    assert asked("3.db", one) == asked("shop.db.3.a", one) == Nothing(exists=True)


def test_of_two_in_one_slot_the_ready_one_is_given() -> None:
    ready = replica("shop.db.1.a", "198.19.1.2")
    begins = replica("shop.db.1.b", "198.19.1.3", PRESENT)
    assert asked("1.db", routes("shop", service("db", begins, ready))) == replicas("198.19.1.2")
    assert asked("1.db", routes("shop", service("db", begins))) == replicas("198.19.1.3")


def test_a_replica_of_the_generation_before_is_seen_where_it_is() -> None:
    before = replica("shop.db.1.a", "198.19.1.2", networks=("shop_old",))
    after = replica("shop.db.2.a", "198.19.1.3")
    one = routes("shop", service("db", before, after, on=("shop_default", "shop_old")))
    assert asked("db", one, on=("shop_old",)) == replicas("198.19.1.2", "198.19.1.3")
    assert asked("db", one) == replicas("198.19.1.3")


def test_each_replica_gives_one_address_of_each_family() -> None:
    one = replica("shop.db.1.a", "198.19.1.2", addresses=("172.20.0.9", "fd00::2", "fd00::3"))
    found = Addresses(("198.19.1.2", "fd00::2"), ENDPOINT_TTL_S, rotates=True)
    assert asked("db", routes("shop", service("db", one))) == found


def test_what_is_on_its_nodes_own_network_has_no_ipv6_address_of_the_pool() -> None:
    one = routes("shop", service("agent", replica("shop.agent.1.a", "198.18.0.1")))
    found = Addresses(("198.18.0.1",), ENDPOINT_TTL_S, rotates=True)
    assert asked("agent", one) == found


@pytest.mark.parametrize("name", ["web.shop", "tasks.web.shop", "1.web.shop", "shop.web.1.a"])
def test_without_a_pool_of_ipv6_there_are_no_such_addresses(name: str) -> None:
    alone = Table(msgspec.structs.replace(snapshot(SHOP, OTHER), pool6=""), OWN)
    meant = meaning_of(alone, HOST, name.split("."))
    assert isinstance(meant, Addresses)
    assert not any(":" in address for address in meant.found)


def six(address: str) -> str:
    return ipaddress.ip_address(address).reverse_pointer


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("2.1.19.198.in-addr.arpa", Pointer("shop.web.1.a.hafen.internal.")),
        ("1.254.19.198.in-addr.arpa", Pointer("web.shop.hafen.internal.")),
        ("4.1.19.198.in-addr.arpa", Nothing(exists=False)),
        ("2.254.19.198.in-addr.arpa", Nothing(exists=False)),
        ("99.99.19.198.in-addr.arpa", Nothing(exists=False)),
        ("9.200.18.198.in-addr.arpa", Nothing(exists=False)),
        ("5.0.20.172.in-addr.arpa", Nothing(exists=False)),
        ("8.8.8.8.in-addr.arpa", Elsewhere()),
        ("999.8.8.8.in-addr.arpa", Elsewhere()),
        ("8.8.in-addr.arpa", Elsewhere()),
        (f"2{'.0' * 29}.d.f.ip6.arpa", Elsewhere()),
        (six("fd00:68::198.19.1.2"), Pointer("shop.web.1.a.hafen.internal.")),
        (six("fd00:68::198.19.254.1"), Pointer("web.shop.hafen.internal.")),
        (six("fd00:68::198.19.254.2"), Nothing(exists=False)),
        (six("fd00:68::198.19.1.4"), Nothing(exists=False)),
        (six("fd00:68::198.19.99.99"), Nothing(exists=False)),
        (six("fd00:68::9"), Nothing(exists=False)),
        (six("fd00:69::198.19.1.2"), Elsewhere()),
    ],
)
def test_an_address_is_named_to_who_sees_it_and_never_asked_about_elsewhere(
    name: str, meant: Meaning
) -> None:
    fixed = routes("fix", networks=[Network(name="fix_net", subnet="172.20.0.0/24")])
    assert asked(name, SHOP, OTHER, fixed) == meant


def test_an_address_of_six_is_named_as_well() -> None:
    one = replica("shop.db.1.a", "198.19.1.2", addresses=("fd00::2",))
    name = f"2.0.0.0{'.0' * 26}.d.f.ip6.arpa"
    assert len(name.split(".")) == 34
    meant = Pointer("shop.db.1.a.hafen.internal.")
    assert asked(name, routes("shop", service("db", one))) == meant


def test_who_asks_is_known_by_this_nodes_containers_else_by_the_routes() -> None:
    found = table(SHOP, containers=[local("198.19.1.2", "x"), local("198.19.1.9", "y")])
    assert found.asker("198.19.1.2") == Asker(stack=SHOP.stack, networks=frozenset("x"))
    assert found.asker("198.19.1.9") == Asker(stack=SHOP.stack, networks=frozenset("y"))
    networks = frozenset({"shop_default", "shared"})
    assert found.asker("198.19.1.3") == Asker(stack=SHOP.stack, networks=networks)
    assert found.asker("198.19.9.9") is None
    for own in (OWN, "127.0.0.1"):
        asker = found.asker(own)
        assert asker is not None
        assert meaning_of(found, asker, ("secret", "shop")) == replicas("198.19.1.4")


def test_who_is_on_internal_networks_only_is_shut() -> None:
    nets = [Network(name="in", internal=True), Network(name="out")]
    one = routes("shop", networks=nets)
    containers = [local("198.19.1.2", "in"), local("198.19.1.3", "in", "out"), local("198.19.1.4")]
    found = table(one, containers=containers)
    shut = [found.asker(f"198.19.1.{n}") for n in (2, 3, 4)]
    assert [one is not None and one.is_shut for one in shut] == [True, False, False]


# ------------------------------------------------------------ any cluster

NETWORKS = ("n1", "n2", "n3")
STACKS = ("s1", "s2")
NAMES = ("web", "db", "tasks", "1")
nets = st.lists(st.sampled_from(NETWORKS), unique=True, max_size=3).map(tuple)


@st.composite
def clusters(draw: st.DrawFn) -> tuple[Routes, ...]:
    number = 0
    stacks = []
    for stack in STACKS:
        services = []
        for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=3)):
            endpoints = []
            for slot in range(1, draw(st.integers(0, 3)) + 1):
                number += 1
                endpoints.append(
                    replica(
                        f"{stack}.{name}.{slot}.x{number}",
                        f"198.19.1.{number + 1}",
                        draw(st.sampled_from(list(EndpointState))),
                        draw(st.none() | nets),
                    )
                )
            number += 1
            vip = draw(st.sampled_from(("", f"198.19.254.{number}")))
            on = [f"{each}:{draw(st.sampled_from(('', 'api', 'db')))}" for each in draw(nets)]
            services.append(service(name, *endpoints, on=on, vip=vip, replicas=3))
        stacks.append(routes(stack, *services))
    return tuple(stacks)


def names_of(stacks: tuple[Routes, ...]) -> list[str]:
    """Return every name that might mean something."""
    inner = [*NAMES, "api", *(f"{name}.{stack}" for name in NAMES for stack in STACKS)]
    inner += [f"{first}.{name}" for name in inner for first in ("tasks", "1", "2", "3", "4")]
    inner += [e.allocation for each in stacks for s in each.services for e in s.endpoints]
    return inner + [f"{name}.hafen.internal" for name in inner]


def told(stacks: tuple[Routes, ...], on: tuple[str, ...], stack: str) -> tuple[Table, Asker]:
    found = table(*stacks, containers=[local(ASKER, *on, stack=stack)])
    asker = found.asker(ASKER)
    assert asker is not None
    return found, asker


@given(clusters(), nets, st.sampled_from(STACKS))
def test_nothing_is_told_of_networks_that_are_not_shared_or_of_what_drains(
    stacks: tuple[Routes, ...], on: tuple[str, ...], stack: str
) -> None:
    found, asker = told(stacks, on, stack)
    may_be_given = set()
    for service_ in (service_ for each in stacks for service_ in each.services):
        own = {one.network for one in service_.networks}
        may_be_given |= {service_.vip} if own & set(on) else set()
        may_be_given |= {
            endpoint.address
            for endpoint in service_.endpoints
            if endpoint.state is not DRAINING
            and (own if endpoint.networks is None else set(endpoint.networks)) & set(on)
        }
    for name in names_of(stacks):
        meaning = meaning_of(found, asker, tuple(name.split(".")))
        if isinstance(meaning, Addresses):
            assert set(meaning.found) <= set(both(*may_be_given - {""})), name
            assert meaning.found
        if "." not in name or name.endswith(".hafen.internal"):
            assert meaning != Elsewhere(), name


@given(clusters(), nets, st.sampled_from(STACKS))
def test_every_name_that_should_be_seen_is(
    stacks: tuple[Routes, ...], on: tuple[str, ...], stack: str
) -> None:
    found, asker = told(stacks, on, stack)

    def ask(*labels: str) -> Meaning:
        return meaning_of(found, asker, (*labels, "hafen", "internal"))

    for each in stacks:
        for one in each.services:
            own = {it.network for it in one.networks}
            seen = [
                endpoint
                for endpoint in one.endpoints
                if (own if endpoint.networks is None else set(endpoint.networks)) & set(on)
            ]
            ready = tuple(it.address for it in seen if it.state is EndpointState.READY)
            if not own & set(on):
                continue
            there = replicas(*ready) if ready else Nothing(exists=True)
            assert ask("tasks", one.service, each.stack) == there
            if one.service not in {"tasks", "1"}:
                whole = virtual(one.vip) if one.vip else there
                assert ask(one.service, each.stack) == whole
                assert each.stack != stack or ask(one.service) == whole
            for it in seen:
                expected = Nothing(exists=True) if it.state is DRAINING else replicas(it.address)
                assert ask(*it.allocation.split(".")) == expected
