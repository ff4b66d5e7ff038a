"""Which fields of a service differ, as people read them."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.api.fields import (
    HIDDEN,
    differences,
    happening,
    network_changes,
    service_changes,
)
from shared.api import FieldChange, Happening, ServiceChange
from shared.model import (
    Affinity,
    EndpointMode,
    Joined,
    Network,
    Placement,
    Protocol,
    PublishedPort,
    ServiceName,
    ServiceSpec,
)
from tests.unit.scheduler.api.build import spec

JOINS = st.lists(
    st.builds(
        Joined,
        network=st.sampled_from(["back", "front"]),
        aliases=st.sampled_from([(), ("a",), ("a", "b")]),
        address=st.sampled_from(["", "10.0.0.1"]),
    ),
    max_size=2,
    unique_by=lambda joined: joined.network,
)


def on_networks(one: ServiceSpec, *joined: Joined) -> ServiceSpec:
    workload = msgspec.structs.replace(one.workload, networks=joined)
    return msgspec.structs.replace(one, workload=workload)


SPECS = st.builds(
    spec,
    st.just("web"),
    st.integers(0, 3),
    image=st.sampled_from(["app:1", "app:2"]),
    ports=st.sampled_from(
        [
            (),
            (PublishedPort(published=80, target=80),),
            (PublishedPort(published=80, target=80, is_host=True),),
        ]
    ),
).flatmap(lambda one: JOINS.map(lambda joins: on_networks(one, *joins)))


def with_environment(**variables: str) -> ServiceSpec:
    one = spec()
    workload = msgspec.structs.replace(one.workload, environment=variables)
    return msgspec.structs.replace(one, workload=workload)


@given(SPECS, SPECS)
def test_fields_differ_exactly_where_records_do(before: ServiceSpec, after: ServiceSpec) -> None:
    found = list(differences(before, after))

    assert bool(found) is (before != after)
    assert (happening(before, after) is Happening.NONE) is (before == after)
    assert all(one.before != one.after for one in found)


def test_a_changed_field_is_named_with_both_values() -> None:
    assert list(differences(spec(replicas=1), spec(replicas=3, image="nginx:2"))) == [
        FieldChange(path="replicas", before="1", after="3"),
        FieldChange(path="workload.image", before="nginx:1", after="nginx:2"),
    ]


def test_networks_and_ports_are_named_as_people_write_them() -> None:
    before = on_networks(
        spec(ports=[PublishedPort(published=80, target=8080)]),
        Joined(network="back", aliases=("db", "pg")),
        Joined(network="old", aliases=("x",)),
    )
    udp = PublishedPort(published=53, target=53, protocol=Protocol.UDP, is_host=True)
    after = on_networks(
        spec(ports=[udp]),
        Joined(network="back", aliases=("db",), address="172.20.0.9"),
        Joined(network="front"),
    )
    work = msgspec.structs.replace(after.workload, network_mode="host")
    after = msgspec.structs.replace(
        after,
        workload=work,
        endpoint_mode=EndpointMode.DNSRR,
        affinity=Affinity.ADDRESS,
    )
    assert list(differences(before, after)) == [
        FieldChange(path="affinity", before="none", after="address"),
        FieldChange(path="endpoint_mode", before="vip", after="dnsrr"),
        FieldChange(path="workload.network_mode", after="host"),
        FieldChange(path="workload.networks", before="back, old", after="back, front"),
        FieldChange(path="workload.networks.back", before="as db, pg", after="as db at 172.20.0.9"),
        FieldChange(path="workload.networks.old", before="as x"),
        FieldChange(path="workload.ports", before="80->8080/tcp", after="53->53/udp host"),
    ]


def test_networks_of_a_stack_are_named_with_what_is_said_of_them() -> None:
    before = [Network(name="a"), Network(name="b", internal=True), Network(name="c")]
    after = [Network(name="a"), Network(name="b"), Network(name="d", subnet="172.20.0.0/24")]
    assert network_changes(before, after) == (
        FieldChange(path="networks.b", before="internal", after="with a way out"),
        FieldChange(path="networks.c", before="with a way out"),
        FieldChange(path="networks.d", after="with a way out, subnet 172.20.0.0/24"),
    )


NETWORKS = st.lists(
    st.builds(
        Network,
        name=st.sampled_from(["a", "b"]),
        internal=st.booleans(),
        subnet=st.sampled_from(["", "172.20.0.0/24"]),
    ),
    max_size=2,
    unique_by=lambda one: one.name,
)


@given(NETWORKS, NETWORKS)
def test_networks_differ_exactly_where_records_do(
    before: list[Network], after: list[Network]
) -> None:
    assert bool(network_changes(before, after)) is (set(before) != set(after))


def test_of_a_new_service_only_what_was_said_is_shown() -> None:
    assert service_changes((), (spec(replicas=2),)) == (
        ServiceChange(
            service=ServiceName("web"),
            what=Happening.CREATE,
            fields=(
                FieldChange(path="replicas", after="2"),
                FieldChange(path="workload.image", after="nginx:1"),
            ),
        ),
    )


@pytest.mark.parametrize(
    "name", ["DB_PASSWORD", "API_TOKEN", "AWS_SECRET_ACCESS_KEY", "STRIPE_KEY", "KEY", "PGPASS"]
)
def test_a_secret_is_never_shown(name: str) -> None:
    (found,) = differences(with_environment(**{name: "hunter1"}), with_environment(**{name: "2"}))

    assert (found.before, found.after) == (HIDDEN, HIDDEN)


def test_a_password_in_an_address_is_hidden_and_the_rest_is_shown() -> None:
    after = with_environment(DATABASE="postgres://shop:hunter2@db/shop", MODE="fast")

    assert [(one.path, one.after) for one in differences(with_environment(), after)] == [
        ("workload.environment.DATABASE", f"postgres://shop:{HIDDEN}@db/shop"),
        ("workload.environment.MODE", "fast"),
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"replicas": 2}, Happening.SCALE),
        ({"is_stopped": True}, Happening.STOP),
        ({"placement": Placement(spread=("zone",))}, Happening.UPDATE),
        ({"workload": msgspec.structs.replace(spec().workload, force=1)}, Happening.RESTART),
        ({"workload": spec(image="nginx:2").workload}, Happening.UPDATE),
    ],
)
def test_what_becomes_of_a_service_has_a_word(
    change: dict[str, object], expected: Happening
) -> None:
    assert happening(spec(), msgspec.structs.replace(spec(), **change)) is expected
