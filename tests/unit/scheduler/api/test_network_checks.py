"""What no stack may ask of networks and addresses, and which of it is nobody's business."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.api.checks import check, check_removal, problems
from scheduler.api.network_checks import Ground, network_problems, routes_bytes
from shared import codec
from shared.api import StackUpload
from shared.errors import SpecError
from shared.model import (
    DOCUMENT_BYTES_MAX,
    AllocId,
    Endpoint,
    EndpointMode,
    EndpointState,
    Joined,
    Mode,
    Network,
    NodeName,
    Order,
    Protocol,
    PublishedPort,
    Routes,
    ServiceRoutes,
    ServiceSpec,
    Stack,
    StackName,
)
from shared.subnets import Pools, network_of
from tests.build import node_spec, service, stack
from tests.unit.scheduler.test_routes import joined

SHOP, CRM = StackName("shop"), StackName("crm")
BACK = Network(name="shop_back", subnet="172.20.0.0/24")
GROUND = Ground(
    pools=Pools(pool="198.19.0.0/16", vips="198.18.128.0/29"),
    nodes={NodeName("node-1"): node_spec("node-1")},
    networks={"edge": Network(name="edge", internal=True, subnet="172.21.0.0/24")},
)


def on(*joins: Joined | str, name: str = "web", **said: Any) -> ServiceSpec:
    networks = [Joined(network=one) if isinstance(one, str) else one for one in joins]
    return joined(service(name), *networks, **said)


def making(name: str, *networks: Network, services: tuple[ServiceSpec, ...] = ()) -> Stack:
    return msgspec.structs.replace(stack(name, *services), networks=networks)


def told(
    *services: ServiceSpec,
    networks: tuple[Network, ...] = (BACK,),
    others: tuple[Stack, ...] = (),
    ground: Ground = GROUND,
) -> list[str]:
    upload = StackUpload(services=services or (service(),), networks=networks)
    return list(problems(SHOP, upload, {one.name: one for one in others}, ground))


def test_networks_of_its_own_of_others_and_of_a_command_are_all_there() -> None:
    crm = making("crm", Network(name="crm_all"))
    assert told(on("shop_back", "edge", "crm_all"), others=(crm,)) == []


@pytest.mark.parametrize(
    ("services", "said"),
    [
        (
            [on("backend")],
            (
                "service web: nobody makes network 'backend': write it under networks, or "
                "`hafen network create backend`"
            ),
        ),
        ([on("edge", "edge")], "service web: it is on network edge twice"),
        (
            [on(Joined(network="shop_back", address="172.20.1.9"))],
            (
                "service web: address '172.20.1.9' on network shop_back: it is not in the "
                "network's subnet 172.20.0.0/24"
            ),
        ),
        (
            [on(Joined(network="shop_back", address="172.20.0.255"))],
            (
                "service web: address '172.20.0.255' on network shop_back: it is the first or the "
                "last of 172.20.0.0/24, which nothing can have"
            ),
        ),
        (
            [on(Joined(network="shop_back", address="ten"))],
            "service web: address 'ten' on network shop_back: it is no IPv4 address",
        ),
        (
            [
                on(Joined(network="shop_back", address="172.20.0.9"), name=name)
                for name in ("web", "db")
            ],
            (
                "service db: address 172.20.0.9 on network shop_back is taken by service web of "
                "stack shop"
            ),
        ),
        (
            [on(Joined(network="shop_back", address="172.20.0.9"), replicas=2)],
            (
                "service web: address 172.20.0.9 on network shop_back is one container's, but "
                "replicas is 2; write replicas: 1"
            ),
        ),
        (
            [on(Joined(network="shop_back", address="172.20.0.9"), mode=Mode.GLOBAL)],
            (
                "service web: address 172.20.0.9 on network shop_back is one container's, but mode "
                "is global; write mode: replicated"
            ),
        ),
        (
            [
                on(
                    Joined(network="shop_back", address="172.20.0.9"),
                    update=msgspec.structs.replace(service().update, order=Order.START_FIRST),
                )
            ],
            (
                "service web: address 172.20.0.9 on network shop_back is one container's, but "
                "order is start-first: two copies would have it; write stop-first"
            ),
        ),
        (
            [on(Joined(network="shop_back", aliases=("a b",)))],
            "service web: alias 'a b' on network shop_back is no name",
        ),
    ],
)
def test_what_a_service_cannot_have_is_refused(services: list[ServiceSpec], said: str) -> None:
    assert told(*services) == [said]


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (
            Network(name="a/b"),
            (
                "network 'a/b': use letters, digits, _, . and -, beginning with a letter or digit, "
                "at most 128 characters"
            ),
        ),
        (
            Network(name="edge"),
            (
                "network edge: stack shop wants it with a way out and without a subnet, but `hafen "
                "network create` makes it internal and with subnet 172.21.0.0/24"
            ),
        ),
        (
            Network(name="n", subnet="172.21.0.128/25"),
            (
                "network n: subnet 172.21.0.128/25 overlaps 172.21.0.0/24, the subnet of network "
                "edge of `hafen network create`"
            ),
        ),
        (
            Network(name="n", subnet="198.19.1.0/24"),
            "network n: subnet 198.19.1.0/24 overlaps 198.19.0.0/16, the pool of containers",
        ),
        (
            Network(name="n", subnet="198.18.128.0/30"),
            "network n: subnet 198.18.128.0/30 overlaps 198.18.128.0/29, the virtual addresses",
        ),
        (
            Network(name="n", subnet="198.18.0.0/24"),
            "network n: subnet 198.18.0.0/24 overlaps 198.18.0.1/32, the address of node-1",
        ),
        (
            Network(name="n", subnet="fd00::/64"),
            "network n: subnet 'fd00::/64' is no IPv4 network such as 172.20.0.0/24",
        ),
    ],
)
def test_what_a_network_cannot_be_is_refused_with_both_sides(network: Network, said: str) -> None:
    assert told(networks=(network,)) == [said]


def test_two_stacks_may_make_the_same_network_but_not_two_of_one_name() -> None:
    assert told(others=(making("crm", BACK),)) == []
    other = making("crm", msgspec.structs.replace(BACK, internal=True))
    assert told(others=(other,)) == [
        (
            "network shop_back: stack shop wants it with a way out and with subnet 172.20.0.0/24, "
            "but stack crm makes it internal and with subnet 172.20.0.0/24"
        )
    ]
    beside = Network(name="crm_n", subnet="172.20.0.0/28")
    assert told(others=(making("crm", beside),)) == [
        (
            "network shop_back: subnet 172.20.0.0/24 overlaps 172.20.0.0/28, the subnet of network "
            "crm_n of stack crm"
        )
    ]


def test_a_network_that_others_are_on_stays() -> None:
    shop = making("shop", BACK, services=(service(),))
    crm = making("crm", services=(on("shop_back"),))
    said = (
        "network shop_back is used by crm.web: keep it, or `hafen network create shop_back` first"
    )
    assert told(networks=(), others=(shop, crm)) == [said]
    with pytest.raises(SpecError, match=r"is used by crm\.web"):
        check_removal(SHOP, {SHOP: shop, CRM: crm}, GROUND)
    kept = msgspec.structs.replace(GROUND, networks={BACK.name: BACK})
    check_removal(SHOP, {SHOP: shop, CRM: crm}, kept)
    check_removal(CRM, {SHOP: shop, CRM: crm}, GROUND)
    assert told(networks=(), others=(shop, crm), ground=kept) == []


def test_a_fixed_address_of_another_stack_is_taken() -> None:
    fixed = on(Joined(network="shop_back", address="172.20.0.9"))
    assert told(fixed, others=(making("crm", BACK, services=(fixed,)),)) == [
        "service web: address 172.20.0.9 on network shop_back is taken by stack crm, service web"
    ]


def test_virtual_addresses_run_out_with_numbers() -> None:
    crm = making("crm", services=tuple(on("edge", name=f"s{number}") for number in range(5)))
    services = [on("edge", name=name) for name in ("web", "db")]
    assert told(*services[:1], others=(crm,)) == []
    assert told(*services, others=(crm,)) == [
        (
            "virtual addresses: stack shop needs 2, 1 of the 6 of 198.18.128.0/29 are free: "
            "endpoint_mode: dnsrr needs none"
        )
    ]
    dnsrr = msgspec.structs.replace(services[1], endpoint_mode=EndpointMode.DNSRR)
    assert told(services[0], dnsrr, others=(crm,)) == []
    without = msgspec.structs.replace(GROUND, pools=Pools(pool="198.19.0.0/16"))
    assert told(*services, others=(crm,), ground=without) == []


def port(number: int, protocol: Protocol = Protocol.TCP, *, is_host: bool = False) -> PublishedPort:
    return PublishedPort(published=number, target=80, protocol=protocol, is_host=is_host)


def publishing(name: str, *ports: PublishedPort) -> ServiceSpec:
    spec = service(name)
    held = msgspec.structs.replace(spec.workload, ports=ports)
    return msgspec.structs.replace(spec, workload=held)


@given(st.lists(st.tuples(st.sampled_from(Protocol), st.booleans()), min_size=2, max_size=2))
def test_two_services_clash_on_a_port_of_one_transport_that_all_nodes_have(
    drawn: list[tuple[Protocol, bool]],
) -> None:
    (one, here), (other, there) = drawn
    crm = making("crm", services=(publishing("api", port(53, other, is_host=there)),))
    found = told(publishing("web", port(53, one, is_host=here)), others=(crm,))
    is_same = (one is Protocol.UDP) == (other is Protocol.UDP)
    text = "53/udp" if one is Protocol.UDP else "53"
    clash = [f"service web: port {text} is taken by stack crm, service api"]
    assert found == (clash if is_same and not (here and there) else [])


def test_routes_that_would_outgrow_their_document_are_refused_with_both_numbers() -> None:
    services = [on("edge", name=f"s{number}", replicas=1000) for number in range(4)]
    wide = msgspec.structs.replace(GROUND, pools=Pools())
    (said,) = told(*services, ground=wide)
    assert said.startswith("its routes may take ")
    assert said.endswith(
        f" bytes while it is updated; {DOCUMENT_BYTES_MAX} are the most: ask for fewer replicas, "
        "or make two stacks of it"
    )
    assert told(*services[:2], ground=wide) == []


@given(st.integers(1, 40), st.sampled_from(Mode), st.integers(0, 3), st.integers(0, 3))
def test_what_is_counted_is_at_least_what_an_update_takes(
    replicas: int, mode: Mode, ports: int, networks: int
) -> None:
    spec = on(*(f"n{number}" for number in range(networks)), replicas=replicas, mode=mode)
    held = msgspec.structs.replace(
        spec.workload, ports=tuple(port(number + 1) for number in range(ports))
    )
    spec = msgspec.structs.replace(spec, workload=held)
    nodes = {NodeName(f"node-{number}"): node_spec(f"node-{number}") for number in range(1, 30)}
    copies = len(nodes) if mode.is_global else replicas
    ends = tuple(
        Endpoint(
            allocation=AllocId(f"shop.web.{slot}.{'z' * 13}"),
            node=NodeName("node-29"),
            address="198.19.255.254",
            state=EndpointState.DRAINING,
            slot=slot,
            targets={one.published: 8080 for one in held.ports} if is_old else {},
            networks=tuple(one.network for one in held.networks) if is_old else None,
        )
        for slot in range(1, copies + 1)
        for is_old in (False, True)
    )
    routes = ServiceRoutes(
        service=spec.name,
        ports=held.ports,
        endpoints=ends,
        replicas=copies,
        networks=held.networks,
        vip="198.18.255.254",
    )
    size = len(codec.encode(Routes(stack=SHOP, services=(routes,))))
    assert size <= routes_bytes(SHOP, [spec], Ground(nodes=nodes)) or not (ports or networks)


@given(st.integers(16, 30), st.integers(0, 255))
def test_a_subnet_is_refused_exactly_if_it_overlaps(prefix: int, third: int) -> None:
    first = network_of("172.21.0.0/24")
    subnet = network_of(f"172.21.{third}.0/{prefix}")
    if subnet is None or first is None:
        return
    upload = StackUpload(services=(service(),), networks=(Network(name="n", subnet=str(subnet)),))
    found = list(network_problems(SHOP, upload, {}, GROUND))
    assert bool(found) == subnet.overlaps(first)


def test_a_network_mode_stands_alone() -> None:
    host = on("edge")
    held = msgspec.structs.replace(host.workload, network_mode="host")
    assert told(msgspec.structs.replace(host, workload=held)) == [
        "service web: network_mode is host: it cannot be on network edge as well"
    ]
    alone = msgspec.structs.replace(held, networks=())
    check(SHOP, StackUpload(services=(msgspec.structs.replace(host, workload=alone),)), {}, GROUND)
