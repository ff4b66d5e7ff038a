"""Cases of test_balance.py: published UDP ports, and ports of single hosts."""

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

from shared.model import Affinity, EndpointState, Protocol, PublishedPort
from tests.contract.balance_rig import (
    Shop,
    endpoint,
    service,
    vanish,
)
from tests.contract.balance_traffic import (
    PORT,
    Caller,
    connect,
    tcp_server,
    udp_server,
)

UDP: Final = PublishedPort(published=5353, target=PORT, protocol=Protocol.UDP)


async def published_datagrams_reach_replicas_on_every_node(
    shop: Shop, stack: AsyncExitStack
) -> None:
    for box in shop.replicas:
        await stack.enter_async_context(udp_server(box))
    ready = [endpoint(box) for box in shop.replicas]
    await shop.rig.apply(service(*ready, vip="", ports=(UDP,)))
    for node in (shop.first, shop.second):
        found = [await Caller(shop.rig.client, node.address, 5353).ask() for _ in range(6)]
        # A replica of the same node sees the client, one of another node sees that node.
        wanted = [
            (box.address, shop.rig.client.address if box.node == node.node else node.address)
            for box in shop.replicas
        ]
        assert sorted(str(one) for one in found) == sorted(str(one) for one in wanted * 2), found
    # From the host itself, and from a container that asks its host.
    for box in (shop.first, shop.client):
        found = [await Caller(box, shop.first.address, 5353).ask() for _ in range(3)]
        assert {one[0] for one in found if one} == {box.address for box in shop.replicas}


async def published_datagrams_find_a_replica_of_the_version_before(
    shop: Shop, stack: AsyncExitStack
) -> None:
    await stack.enter_async_context(udp_server(shop.a, 7001))
    await stack.enter_async_context(udp_server(shop.c))
    old = endpoint(shop.a, targets={5353: 7001})
    await shop.rig.apply(service(old, endpoint(shop.c), vip="", ports=(UDP,)))
    found = [await Caller(shop.rig.client, shop.first.address, 5353).ask() for _ in range(2)]
    assert {one[0] for one in found if one} == {shop.a.address, shop.c.address}


async def published_datagrams_heal_at_once(shop: Shop, stack: AsyncExitStack) -> None:
    await stack.enter_async_context(udp_server(shop.a))
    await stack.enter_async_context(udp_server(shop.c))
    caller = Caller(shop.rig.client, shop.first.address, 5353)
    # Before the port is published, the host refuses, and the kernel remembers it.
    assert await caller.ask(0.2) is None
    await shop.rig.apply(service(vip="", ports=(UDP,)))
    assert await caller.ask(0.2) is None
    await shop.rig.apply(service(endpoint(shop.c), vip="", ports=(UDP,)))
    assert await caller.ask() == (shop.c.address, shop.first.address)
    vanish(shop.second)
    await shop.rig.apply(service(endpoint(shop.a), vip="", ports=(UDP,)))
    assert await caller.ask() == (shop.a.address, shop.rig.client.address)


async def published_datagrams_of_a_client_stay_with_a_replica(
    shop: Shop, stack: AsyncExitStack
) -> None:
    for box in shop.replicas:
        await stack.enter_async_context(udp_server(box))
    ready = [endpoint(box) for box in shop.replicas]
    await shop.rig.apply(service(*ready, vip="", ports=(UDP,), affinity=Affinity.ADDRESS))
    # By whichever node it comes.
    found = [
        await Caller(shop.rig.client, node.address, 5353).ask()
        for node in (shop.first, shop.second)
        for _ in range(5)
    ]
    assert len({one[0] for one in found if one}) == 1
    assert None not in found


async def host_ports_lead_to_the_nodes_own_replica(shop: Shop, stack: AsyncExitStack) -> None:
    for box in (shop.a, shop.c):
        await stack.enter_async_context(tcp_server(box))
        await stack.enter_async_context(udp_server(box))
    ports = tuple(
        PublishedPort(published=8080, target=PORT, protocol=protocol, is_host=True)
        for protocol in (Protocol.TCP, Protocol.UDP)
    )
    await shop.rig.apply(service(endpoint(shop.a), endpoint(shop.c), vip="", ports=ports))
    for node, box in ((shop.first, shop.a), (shop.second, shop.c)):
        line, who, seen = await connect(shop.rig.client, node.address, 8080)
        assert (who, seen) == (box.address, shop.rig.client.address)
        line.close()
        assert await Caller(shop.rig.client, node.address, 8080).ask() == (
            box.address,
            shop.rig.client.address,
        )
    # A node without a replica refuses at once.
    line, _, _ = await connect(shop.rig.client, shop.first.address, 8080)
    draining = endpoint(shop.a, EndpointState.DRAINING)
    status = await shop.rig.apply(service(draining, endpoint(shop.c), vip="", ports=ports))
    assert status.busy == (draining.allocation,)
    assert await line.answers()
    try:
        await connect(shop.rig.client, shop.first.address, 8080)
    except ConnectionRefusedError:
        pass
    else:
        raise AssertionError("it was not refused")


async def published_ports_are_at_every_address_that_a_node_has_now(
    shop: Shop, stack: AsyncExitStack
) -> None:
    for box in (shop.a, shop.c):
        await stack.enter_async_context(tcp_server(box))
        await stack.enter_async_context(udp_server(box))
    host = PublishedPort(published=8080, target=PORT, is_host=True)
    await shop.rig.apply(service(endpoint(shop.a), endpoint(shop.c), vip="", ports=(UDP, host)))
    # A floating one comes later; the client knows no other.
    begin, length = ("fd00:1::", 64) if shop.rig.pool6 else ("198.20.0.", 24)
    floating, client = f"{begin}7", f"{begin}8"
    now = " nodad" if shop.rig.pool6 else ""
    shop.first.do(f"ip addr add {floating}/{length} dev eth0{now}")
    shop.rig.client.do(f"ip addr add {client}/{length} dev eth0{now}")
    found = {await Caller(shop.rig.client, floating, 5353, own=client).ask() for _ in range(4)}
    # What leads to another node has the address that all nodes know, not the floating one.
    assert found == {(shop.a.address, client), (shop.c.address, shop.first.address)}
    line, who, _ = await connect(shop.rig.client, floating, 8080)
    assert who == shop.a.address
    line.close()


async def a_port_that_a_program_of_the_host_has_is_left_to_it(
    shop: Shop, stack: AsyncExitStack
) -> None:
    await stack.enter_async_context(udp_server(shop.first, 5353))
    await stack.enter_async_context(udp_server(shop.a))
    status = await shop.rig.apply(service(endpoint(shop.a), vip="", ports=(UDP,)))
    port = f"port 5353/udp{' over IPv6' if shop.rig.pool6 else ''} of shop.web"
    assert status.problems == (f"{port} is taken by another program on this node",)
    caller = Caller(shop.rig.client, shop.first.address, 5353)
    assert await caller.ask() == (shop.first.address, shop.rig.client.address)


PORT_CASES: Final[dict[str, Callable[[Shop, AsyncExitStack], Awaitable[None]]]] = {
    case.__name__: case
    for case in (
        published_datagrams_reach_replicas_on_every_node,
        published_datagrams_find_a_replica_of_the_version_before,
        published_datagrams_heal_at_once,
        published_datagrams_of_a_client_stay_with_a_replica,
        host_ports_lead_to_the_nodes_own_replica,
        published_ports_are_at_every_address_that_a_node_has_now,
        a_port_that_a_program_of_the_host_has_is_left_to_it,
    )
}
