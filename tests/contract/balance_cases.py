"""What test_balance.py runs, one case a process: all namespaces hang on one that is its own."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from node_agent.balance.table import NAME
from shared.model import Affinity, EndpointState
from tests.contract.balance_families import FAMILY_CASES
from tests.contract.balance_kernel import KERNEL_CASES
from tests.contract.balance_ports import PORT_CASES, UDP
from tests.contract.balance_rig import (
    FAMILIES,
    VIP,
    Box,
    Rig,
    Shop,
    endpoint,
    service,
    vanish,
)
from tests.contract.balance_traffic import (
    PORT,
    Caller,
    Line,
    connect,
    tcp_server,
    udp_server,
    who_answers,
)
from tests.waiting import until


async def connections_are_spread_evenly_over_all_nodes(shop: Shop, stack: AsyncExitStack) -> None:
    for box in shop.replicas:
        await stack.enter_async_context(tcp_server(box))
    await shop.rig.apply(service(*(endpoint(box) for box in shop.replicas)))
    found = await who_answers(shop.client, 30)
    assert found == {box.address: 10 for box in shop.replicas}, found
    # The host's own programs as well.
    found = await who_answers(shop.first, 30)
    assert found == {box.address: 10 for box in shop.replicas}, found


async def a_replica_sees_who_asks(shop: Shop, stack: AsyncExitStack) -> None:
    await stack.enter_async_context(tcp_server(shop.c))
    await shop.rig.apply(service(endpoint(shop.c)))
    line, who, seen = await connect(shop.client)
    assert (who, seen) == (shop.c.address, shop.client.address)
    line.close()


async def every_port_and_ping(shop: Shop, stack: AsyncExitStack) -> None:
    for port in (1, 53, 65000):
        await stack.enter_async_context(tcp_server(shop.c, port))
        await stack.enter_async_context(udp_server(shop.c, port))
    await shop.rig.apply(service(endpoint(shop.c)))
    for port in (1, 53, 65000):
        assert await who_answers(shop.client, 1, port=port) == {shop.c.address: 1}
        assert await Caller(shop.client, port=port).ask() == (shop.c.address, shop.client.address)
    shop.client.run("busybox", "ping", "-c", "1", "-W", "5", shop.client.says(VIP))


async def a_client_stays_with_its_replica(shop: Shop, stack: AsyncExitStack) -> None:
    for box in shop.replicas:
        await stack.enter_async_context(tcp_server(box))
    clients = [shop.rig.container(shop.first, 20 + number) for number in range(12)]
    ready = [endpoint(box, slot=number + 1) for number, box in enumerate(shop.replicas)]
    homes = []
    # Also after another change, and an agent's restart.
    for _ in range(2):
        await shop.rig.apply(service(*ready, affinity=Affinity.ADDRESS))
        found = [await who_answers(client, 3) for client in clients]
        assert all(len(one) == 1 for one in found), found
        homes.append([next(iter(one)) for one in found])
        await shop.rig.restart(shop.first)
        await shop.rig.apply(service(ready[0], affinity=Affinity.ADDRESS))
    assert homes[0] == homes[1]
    assert set(homes[0]) == {box.address for box in shop.replicas}


async def new_connections_wait_for_the_first_replica(shop: Shop, stack: AsyncExitStack) -> None:
    await stack.enter_async_context(tcp_server(shop.c))
    await stack.enter_async_context(udp_server(shop.c))
    await shop.rig.apply(service())
    caller = Caller(shop.client)
    assert await caller.ask(0.2) is None
    async with asyncio.TaskGroup() as group:
        task = group.create_task(connect(shop.client))
        own = group.create_task(connect(shop.first))
        await until(lambda: all(_is_waiting(box) for box in (shop.client, shop.first)), 10)
        assert not task.done()
        await shop.rig.apply(service(endpoint(shop.c)))
        line, who, _ = await task
        other, own_who, _ = await own
    assert (who, own_who) == (shop.c.address, shop.c.address)
    line.close()
    other.close()
    # What was sent while nobody was there does not hold later datagrams back.
    assert await caller.ask() == (shop.c.address, shop.client.address)


def _is_waiting(box: Box) -> bool:
    return box.says(VIP) in box.run("ss", "-H", "-tn", "state", "syn-sent").stdout


async def a_drained_replica_keeps_what_is_open(shop: Shop, stack: AsyncExitStack) -> None:
    for box in (shop.a, shop.c):
        await stack.enter_async_context(tcp_server(box))
    await shop.rig.apply(service(endpoint(shop.c)))
    line, who, _ = await connect(shop.client)
    assert who == shop.c.address
    drains = endpoint(shop.c, EndpointState.DRAINING)

    async def is_busy() -> bool:
        assert await line.answers()  # a slow machine may look when it has long been silent
        wanted = service(endpoint(shop.a), drains)
        return (await shop.rig.apply(wanted)).busy == (drains.allocation,)

    await until(is_busy, 20)
    assert await who_answers(shop.client, 10) == {shop.a.address: 10}
    await shop.rig.restart(shop.first)  # as its host may meanwhile
    await until(is_busy, 20)

    async def is_idle() -> bool:
        return (await shop.rig.quiet()).busy == ()

    # A client that keeps a connection for later holds nothing up, and may go on with it.
    await until(is_idle, 10)
    assert await line.answers()
    line.close()


async def only_what_is_open_by_an_entrance_keeps_a_replica_busy(
    shop: Shop, stack: AsyncExitStack
) -> None:
    await stack.enter_async_context(tcp_server(shop.c))
    await stack.enter_async_context(udp_server(shop.c))
    await shop.rig.apply(service(endpoint(shop.c)))
    # A gateway counts what it carries itself; datagrams have no end to wait for.
    direct, _, _ = await connect(shop.client, shop.c.address)
    assert await Caller(shop.client).ask() == (shop.c.address, shop.client.address)
    drains = endpoint(shop.c, EndpointState.DRAINING)
    assert (await shop.rig.apply(service(drains))).busy == ()
    direct.close()


async def datagrams_go_to_a_living_replica_at_once(shop: Shop, stack: AsyncExitStack) -> None:
    await stack.enter_async_context(udp_server(shop.a))
    await stack.enter_async_context(udp_server(shop.c))
    await shop.rig.apply(service(endpoint(shop.c)))
    caller = Caller(shop.client)
    assert await caller.ask() == (shop.c.address, shop.client.address)
    vanish(shop.second)
    await shop.rig.apply(service(endpoint(shop.a)))
    assert await caller.ask() == (shop.a.address, shop.client.address)


async def datagrams_leave_a_replica_that_is_no_longer_ready(
    shop: Shop, stack: AsyncExitStack
) -> None:
    await stack.enter_async_context(udp_server(shop.a))
    await stack.enter_async_context(udp_server(shop.c))
    await shop.rig.apply(service(endpoint(shop.c)))
    caller = Caller(shop.client)
    assert await caller.ask() == (shop.c.address, shop.client.address)
    await shop.rig.apply(service(endpoint(shop.a), endpoint(shop.c, EndpointState.PRESENT)))
    assert await caller.ask() == (shop.a.address, shop.client.address)


async def a_client_that_only_waits_is_told_that_its_replica_is_gone(
    shop: Shop, stack: AsyncExitStack
) -> None:
    await stack.enter_async_context(tcp_server(shop.a))
    await stack.enter_async_context(tcp_server(shop.c))
    await shop.rig.apply(service(endpoint(shop.c)))
    lines = [await connect(box) for box in (shop.client, shop.first) for _ in range(3)]
    vanish(shop.second)
    await shop.rig.apply(service(endpoint(shop.a)))
    for line, _, _ in lines:
        await _is_reset(line.reader)
    assert await who_answers(shop.client, 1) == {shop.a.address: 1}


async def a_client_is_told_also_when_nobody_is_ready(shop: Shop, stack: AsyncExitStack) -> None:
    await stack.enter_async_context(tcp_server(shop.c))
    await shop.rig.apply(service(endpoint(shop.c)))
    line, _, _ = await connect(shop.client)
    vanish(shop.second)
    await shop.rig.apply(service())
    await _is_reset(line.reader)
    # And when the service itself goes.
    other = await _another_one(shop, stack)
    await shop.rig.apply(None)
    await _is_reset(other.reader)


async def _another_one(shop: Shop, stack: AsyncExitStack) -> Line:
    await stack.enter_async_context(tcp_server(shop.a))
    await shop.rig.apply(service(endpoint(shop.a)))
    line, _, _ = await connect(shop.client)
    return line


async def _is_reset(reader: asyncio.StreamReader) -> None:
    try:
        async with asyncio.timeout(10):
            data = await reader.read()
    except ConnectionResetError:
        return
    raise AssertionError(f"not reset, but {data!r}")


async def connections_to_others_stay(shop: Shop, stack: AsyncExitStack) -> None:
    """What is flushed is what leads to the endpoint that is gone, nothing else."""
    for box in shop.replicas:
        await stack.enter_async_context(tcp_server(box))
    await shop.rig.apply(service(*(endpoint(box) for box in shop.replicas)))
    lines = [await connect(shop.client) for _ in range(6)]
    direct, _, _ = await connect(shop.client, shop.c.address)
    await shop.rig.apply(service(endpoint(shop.a), endpoint(shop.b)))
    for line, who, _ in lines:
        if who == shop.c.address:
            await _is_reset(line.reader)
        else:
            assert await line.answers()
    assert await direct.answers()


async def an_agent_that_comes_back_forgets_what_went_meanwhile(
    shop: Shop, stack: AsyncExitStack
) -> None:
    await stack.enter_async_context(udp_server(shop.a))
    await stack.enter_async_context(udp_server(shop.c))
    await stack.enter_async_context(tcp_server(shop.c))
    both = service(endpoint(shop.c)), service(endpoint(shop.c), vip="198.18.200.2", name="api")
    await shop.rig.apply(*both)
    callers = Caller(shop.client), Caller(shop.client, "198.18.200.2")
    for caller in callers:
        assert await caller.ask() == (shop.c.address, shop.client.address)
    line, _, _ = await connect(shop.client, "198.18.200.2")
    vanish(shop.second)
    await shop.rig.restart(shop.first)
    # One service has another replica, one is gone altogether.
    await shop.rig.apply(service(endpoint(shop.a)))
    assert await callers[0].ask() == (shop.a.address, shop.client.address)
    await _is_reset(line.reader)


async def a_replica_reaches_itself(shop: Shop, stack: AsyncExitStack) -> None:
    await stack.enter_async_context(tcp_server(shop.a))
    await stack.enter_async_context(udp_server(shop.a))
    await shop.rig.apply(service(endpoint(shop.a)))
    assert await who_answers(shop.a, 3) == {shop.a.address: 3}
    answer = await Caller(shop.a).ask()
    assert answer is not None
    assert answer[0] == shop.a.address


async def what_is_removed_by_hand_comes_back(shop: Shop, stack: AsyncExitStack) -> None:
    await stack.enter_async_context(tcp_server(shop.c))
    await stack.enter_async_context(udp_server(shop.a))
    await shop.rig.apply(service(endpoint(shop.c), ports=(UDP,)))
    line, _, _ = await connect(shop.client)
    before, table = _listed(shop), f"{shop.rig.family} hafen_services"
    for command in (
        f"delete table {table}",
        "flush ruleset",
        f"flush chain {table} prerouting",
        f"flush chain {table} vip.shop.web",
        f"flush map {table} vips",
        f"flush map {table} ports",
        f"flush set {table} virtual",
        f"delete element {table} far {{ {shop.c.address} . udp . {PORT} }}",
        f"add rule {table} vip.shop.web accept",
        f"insert rule {table} output drop",
        f"add chain {table} strange",
        f"add element {table} far {{ {shop.first.address} . udp . 9 }}",
    ):
        shop.first.run("nft", command)
        await shop.rig.quiet()
        assert _listed(shop) == before, command
        assert await line.answers()
    assert await who_answers(shop.client, 1) == {shop.c.address: 1}


def _listed(shop: Shop) -> list[str]:
    """Return the table's lines in an order of their own: what is made again, is made later."""
    text = shop.first.run("nft", "list", "table", shop.rig.family, NAME).stdout
    return sorted(line.strip() for line in text.splitlines())


async def datagrams_that_took_the_wrong_way_meanwhile_are_set_right(
    shop: Shop, stack: AsyncExitStack
) -> None:
    await stack.enter_async_context(udp_server(shop.c))
    await shop.rig.apply(service(endpoint(shop.c)))
    shop.first.do(f"nft delete table {shop.rig.family} {NAME}")
    caller = Caller(shop.client)
    assert await caller.ask(0.2) is None
    await shop.rig.quiet()
    assert await caller.ask() == (shop.c.address, shop.client.address)


async def nothing_is_left(shop: Shop, _: AsyncExitStack) -> None:
    await shop.rig.apply(service(endpoint(shop.c), ports=(UDP,)))
    await shop.rig.apply(None)
    # Clients of the address that went are told first.
    await shop.rig.quiet()
    text = shop.first.run("nft", "list", "table", shop.rig.family, NAME).stdout
    assert "shop" not in text
    assert "elements" not in text


CASES: Final[dict[str, Callable[[Shop, AsyncExitStack], Awaitable[None]]]] = (
    {
        case.__name__: case
        for case in (
            connections_are_spread_evenly_over_all_nodes,
            a_replica_sees_who_asks,
            every_port_and_ping,
            a_client_stays_with_its_replica,
            new_connections_wait_for_the_first_replica,
            a_drained_replica_keeps_what_is_open,
            only_what_is_open_by_an_entrance_keeps_a_replica_busy,
            datagrams_go_to_a_living_replica_at_once,
            datagrams_leave_a_replica_that_is_no_longer_ready,
            a_client_that_only_waits_is_told_that_its_replica_is_gone,
            a_client_is_told_also_when_nobody_is_ready,
            connections_to_others_stay,
            an_agent_that_comes_back_forgets_what_went_meanwhile,
            a_replica_reaches_itself,
            what_is_removed_by_hand_comes_back,
            datagrams_that_took_the_wrong_way_meanwhile_are_set_right,
            nothing_is_left,
        )
    }
    | PORT_CASES
    | FAMILY_CASES
    | KERNEL_CASES
)


async def run(case: str, family: str, folder: Path) -> None:
    """Run one case in a cluster of its own."""
    shop = Shop(Rig(folder, FAMILIES[family]))
    async with shop.rig.agent(shop.first, shop.second), AsyncExitStack() as stack:
        await CASES[case](shop, stack)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
