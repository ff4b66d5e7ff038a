"""Which changes of a workload need another container."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shared.model import Joined, Protocol, PublishedPort, PullPolicy, Workload, runs_alike

PORTS = st.builds(
    PublishedPort,
    published=st.integers(80, 82),
    target=st.integers(1, 2),
    protocol=st.sampled_from(Protocol),
    is_host=st.booleans(),
)
JOINED = st.builds(
    Joined,
    network=st.sampled_from(["front", "back"]),
    aliases=st.sampled_from([(), ("a",)]),
    address=st.sampled_from(["", "10.0.0.1", "10.0.0.2"]),
)
OUTSIDE = {
    "labels": st.sampled_from([{}, {"a": "b"}]),
    "ports": st.lists(PORTS, max_size=2).map(tuple),
    "pull": st.sampled_from(PullPolicy),
    "networks": st.lists(JOINED, max_size=2).map(tuple),
    "exposed": st.lists(st.sampled_from([80, 81]), max_size=2).map(tuple),
}
WORKLOADS = st.builds(
    Workload,
    image=st.sampled_from(["app:1", "app:2"]),
    network_mode=st.sampled_from(["", "", "host", "none"]),
    **OUTSIDE,
)


def inside(one: Workload) -> object:
    """Return what a container has of a workload, and what keeps it where it is."""
    return (
        one.image,
        one.network_mode,
        {joined.address for joined in one.networks} - {""},
        {port.target for port in one.ports if port.protocol is not Protocol.UDP} | {*one.exposed},
        {(port.published, port.protocol is Protocol.UDP) for port in one.ports if port.is_host},
    )


@given(WORKLOADS, WORKLOADS)
def test_a_container_is_as_good_exactly_when_what_is_inside_is_the_same(
    one: Workload, other: Workload
) -> None:
    assert runs_alike(one, other) == runs_alike(other, one) == (inside(one) == inside(other))


@given(WORKLOADS, st.fixed_dictionaries({"networks": OUTSIDE["networks"]}))
def test_no_name_and_no_network_needs_another_container(
    one: Workload, changed: dict[str, tuple[Joined, ...]]
) -> None:
    free = tuple(
        msgspec.structs.replace(joined, address="")
        for joined in (*one.networks, *changed["networks"])
    )
    before = msgspec.structs.replace(one, networks=())
    assert runs_alike(before, msgspec.structs.replace(one, networks=free))


def test_every_other_field_is_inside() -> None:
    known = {*OUTSIDE, "image", "network_mode"}
    base = Workload(image="app:1")
    for field in msgspec.structs.fields(Workload):
        if field.name not in known:
            other = msgspec.structs.replace(base, **{field.name: object()})
            assert not runs_alike(base, other), field.name
