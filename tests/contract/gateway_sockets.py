"""What gateway_cases.py runs with websockets: streams that outlive drains and reloads."""

from typing import Final

from aiohttp import WSMsgType

from node_agent.gateway.haproxy import HaproxyGateway
from shared.model import EndpointState, Revision, Routes, StackName
from tests.contract.gateway_rig import (
    SHOP,
    A,
    B,
    echoed,
    endpoint,
    replica,
    served,
    websocket,
)
from tests.waiting import until

OTHER = StackName("other")


async def a_websocket_stays_with_a_replica_that_drains_and_the_next_goes_elsewhere(
    gateway: HaproxyGateway,
) -> None:
    async with replica(A) as old, replica(B):
        await gateway.apply(served(endpoint(A)))
        async with websocket() as ws:
            assert await echoed(ws, "one") == f"{A} one"
            drained = served(endpoint(A, EndpointState.DRAINING), endpoint(B), revision=2)
            status = await gateway.apply(drained)
            assert status.busy == (endpoint(A).allocation,)
            assert await echoed(ws, "two") == f"{A} two"
            async with websocket() as next_:
                assert await echoed(next_, "one") == f"{B} one"
            await old.stop()
            assert (await ws.receive(timeout=15)).type in {WSMsgType.CLOSE, WSMsgType.CLOSED}

        async def is_idle() -> bool:
            return (await gateway.apply(drained)).busy == ()

        await until(is_idle, 10)


async def a_websocket_outlives_a_reload(gateway: HaproxyGateway) -> None:
    async with replica(A):
        wanted = served(endpoint(A))
        await gateway.apply(wanted)
        async with websocket() as ws:
            other = served(port=9001)[SHOP][1].services
            routes = Routes(stack=OTHER, services=other)
            await gateway.apply({**wanted, OTHER: (Revision(2), routes)})
            assert await echoed(ws, "still here") == f"{A} still here"


SOCKET_CASES: Final = (
    a_websocket_stays_with_a_replica_that_drains_and_the_next_goes_elsewhere,
    a_websocket_outlives_a_reload,
)
