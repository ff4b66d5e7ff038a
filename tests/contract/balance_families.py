"""Cases of test_balance.py: IPv4 and IPv6 beside each other."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Final

import pytest

from tests.contract.balance_ports import UDP
from tests.contract.balance_rig import VIP, Shop, endpoint, service
from tests.contract.balance_traffic import PORT


async def without_a_pool_of_ipv6_there_is_nothing_of_it(shop: Shop, _: AsyncExitStack) -> None:
    await shop.rig.apply(service(endpoint(shop.c), ports=(UDP,)))
    six = ["table ip6 hafen_services"] if shop.rig.pool6 else []
    assert _tables(shop) == ["table ip hafen_services", *six]


async def a_node_without_the_pool_any_more_keeps_no_table_of_ipv6(
    shop: Shop, _: AsyncExitStack
) -> None:
    await shop.rig.apply(service(endpoint(shop.c), ports=(UDP,)))
    six = ["table ip6 hafen_services"] if shop.rig.pool6 else []
    assert _tables(shop) == ["table ip hafen_services", *six]
    shop.first.pool6 = ""
    await shop.rig.restart(shop.first)
    status = await shop.rig.apply(service(endpoint(shop.c), ports=(UDP,)))
    assert status.problems == ()
    assert _tables(shop) == ["table ip hafen_services"]
    before = shop.first.run("nft", "list", "ruleset").stdout
    await shop.rig.quiet()
    assert shop.first.run("nft", "list", "ruleset").stdout == before


def _tables(shop: Shop) -> list[str]:
    return sorted(shop.first.run("nft", "list", "tables").stdout.split("\n")[:-1])


async def ipv4_is_balanced_whether_there_is_ipv6_or_not(shop: Shop, stack: AsyncExitStack) -> None:
    server = shop.c.inside(lambda: socket.create_server((shop.c.four, PORT)))
    stack.callback(server.close)
    await shop.rig.apply(service(endpoint(shop.c)))
    client = shop.client.inside(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
    stack.callback(client.close)
    client.setblocking(False)
    async with asyncio.timeout(10):
        await asyncio.get_running_loop().sock_connect(client, (VIP, PORT))
    taken, seen = server.accept()
    taken.close()
    assert seen[0] == shop.client.four


async def a_replica_that_serves_ipv4_alone_refuses_ipv6_at_once(
    shop: Shop, stack: AsyncExitStack
) -> None:
    """So a client goes on to the next address of the name."""
    if shop.rig.pool6:
        server = shop.c.inside(lambda: socket.create_server((shop.c.four, PORT)))
        stack.callback(server.close)
    await shop.rig.apply(service(endpoint(shop.c)))
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        client = shop.client.socket(kind)
        stack.callback(client.close)
        with pytest.raises(ConnectionRefusedError):
            await _ask(client, shop.client.says(VIP))


async def _ask(client: socket.socket, to: str) -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(10):
        await loop.sock_connect(client, (to, PORT))
        await loop.sock_sendall(client, b"?")
        await loop.sock_recv(client, 1)


FAMILY_CASES: Final[dict[str, Callable[[Shop, AsyncExitStack], Awaitable[None]]]] = {
    case.__name__: case
    for case in (
        without_a_pool_of_ipv6_there_is_nothing_of_it,
        a_node_without_the_pool_any_more_keeps_no_table_of_ipv6,
        ipv4_is_balanced_whether_there_is_ipv6_or_not,
        a_replica_that_serves_ipv4_alone_refuses_ipv6_at_once,
    )
}
