"""Virtual addresses: one for each service that wants one, and always the same."""

from hypothesis import given
from hypothesis import strategies as st

from scheduler.vips import virtual_addresses
from scheduler.world import ServiceId
from shared.model import ServiceName, StackName
from shared.subnets import hosts_of, network_of

VIPS = "198.18.128.0/28"
SERVICES = st.frozensets(
    st.builds(
        lambda one, other: (StackName(one), ServiceName(other)),
        st.sampled_from("abcd"),
        st.sampled_from("uvwxyz"),
    ),
    max_size=20,
)
ADDRESSES = st.sampled_from(["198.18.128.0", "198.18.128.15", "203.0.113.1", "", "x"]) | st.builds(
    lambda last: f"198.18.128.{last}", st.integers(1, 14)
)


@given(SERVICES, st.lists(st.tuples(SERVICES, ADDRESSES), max_size=6))
def test_every_service_has_its_own_address_and_keeps_what_it_rightly_has(
    wanted: frozenset[ServiceId], drawn: list[tuple[frozenset[ServiceId], str]]
) -> None:
    known = [(service, address) for services, address in drawn for service in sorted(services)[:1]]
    known = list(dict(known).items())
    found = virtual_addresses(VIPS, wanted, known)
    network = network_of(VIPS)
    assert network is not None
    hosts = {str(host) for host in network.hosts()}
    assert set(found.values()) <= hosts
    assert len(set(found.values())) == len(found) == min(len(wanted), hosts_of(VIPS))
    kept: set[str] = set()
    for service, address in known:
        if service in wanted and address in hosts and address not in kept:
            kept.add(address)
            assert found[service] == address
    # What routes say from now on changes nothing any more.
    assert virtual_addresses(VIPS, wanted, sorted(found.items())) == found


@given(SERVICES, SERVICES)
def test_others_come_and_go_without_moving_anybody(
    first: frozenset[ServiceId], then: frozenset[ServiceId]
) -> None:
    before = virtual_addresses(VIPS, first, ())
    after = virtual_addresses(VIPS, first | then, sorted(before.items()))
    assert {key: after[key] for key in before} == before


def test_an_address_follows_from_the_name_alone() -> None:
    web = (StackName("shop"), ServiceName("web"))
    others = [(StackName("crm"), ServiceName(name)) for name in ("api", "db")]
    wide = "198.18.128.0/17"
    alone = virtual_addresses(wide, [web], ())
    assert virtual_addresses(wide, [*others, web], ())[web] == alone[web]


def test_without_a_network_there_are_none() -> None:
    web = (StackName("shop"), ServiceName("web"))
    for vips in ("", "nonsense", "198.18.128.0/32"):
        assert virtual_addresses(vips, [web], [(web, "198.18.128.1")]) == {}
