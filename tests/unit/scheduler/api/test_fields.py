"""Which fields of a service differ, as people read them."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.api.fields import HIDDEN, differences, happening, service_changes
from shared.api import FieldChange, Happening, ServiceChange
from shared.model import Placement, PublishedPort, ServiceName, ServiceSpec
from tests.unit.scheduler.api.build import spec

SPECS = st.builds(
    spec,
    st.just("web"),
    st.integers(0, 3),
    image=st.sampled_from(["app:1", "app:2"]),
    ports=st.sampled_from([(), (PublishedPort(published=80, target=80),)]),
)


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
