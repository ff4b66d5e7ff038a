"""Cases of test_gateway.py in which HAProxy stands still, or the whole host does."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from node_agent import process as processes
from node_agent.gateway.haproxy import HaproxyGateway
from tests.contract.gateway_lost import listening
from tests.contract.gateway_rig import SHOP, A, B, client, endpoint, replica, served
from tests.stopping import stop
from tests.waiting import until

# Longer than a question waits for its answer.
_HOST_STANDS_STILL_S: Final = 7


def let_go_on(pids: Iterable[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


async def a_haproxy_that_stands_still_is_ended_before_the_next_begins(
    gateway: HaproxyGateway,
) -> None:
    async with replica(A), replica(B), client(keep_alive=False) as gets:
        await gateway.apply(served(endpoint(A)))
        frozen = gateway.haproxy.left()
        await stop(frozen)
        wanted = served(endpoint(B), revision=2)
        while (status := await gateway.apply(wanted)).problems:
            assert gateway.haproxy.left() == frozen, "no other one begins beside it"
            assert listening() == 1
            assert gateway.trouble == "HAProxy runs and does not answer"
        assert gateway.trouble == ""
        assert status.acked == {SHOP: 2}
        assert not any(processes.is_alive(pid) for pid in frozen)
        assert listening() == 1
        for _ in range(20):
            await gets.get()
    assert (gets.answers, gets.failures) == ([B] * 20, [])


async def a_haproxy_that_is_slow_for_seconds_is_left_alone(gateway: HaproxyGateway) -> None:
    async with replica(A), replica(B), client(keep_alive=False) as gets:
        await gateway.apply(served(endpoint(A)))
        slow = gateway.haproxy.left()
        for _ in range(3):
            await stop(slow)
            status = await gateway.apply(served(endpoint(B), revision=2))
            assert status.acked == {SHOP: 1}, "nothing newer is in force"
            assert "does not answer" in status.problems[0]
            let_go_on(slow)
            status = await gateway.apply(served(endpoint(B), revision=2))
            assert (status.acked, status.problems) == ({SHOP: 2}, ())
            await gateway.apply(served(endpoint(A)))
        assert gateway.haproxy.left() == slow
        await gets.get()
    assert (gets.answers, gets.failures) == ([A], [])


async def a_host_that_stood_still_blames_nobody(gateway: HaproxyGateway) -> None:
    """HAProxy and we stand still in the middle of a question; nobody sees a silence."""
    async with replica(A):
        await gateway.apply(served(endpoint(A)))
        there = gateway.haproxy.left()
        await stop(there)
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(gateway.apply(served(endpoint(A))))
            await asyncio.wait((asking,), timeout=0.3)
            assert not asking.done(), "the question is under way"
            await stand_still(there)
        status = asking.result()
        assert (status.acked, status.problems) == ({SHOP: 1}, ())
        assert gateway.haproxy.left() == there


async def stand_still(others: Iterable[int]) -> None:
    """Have this process stopped, and after a while it and the others go on."""
    pids = [str(pid) for pid in (*others, os.getpid())]
    script = f"kill -STOP {pids[-1]}; sleep {_HOST_STANDS_STILL_S}; kill -CONT {' '.join(pids)}"
    freezer = await asyncio.create_subprocess_exec("sh", "-c", script)
    await freezer.wait()


async def one_that_stands_still_and_has_lost_its_socket_does_not_go_on_listening(
    gateway: HaproxyGateway,
) -> None:
    async with replica(A), replica(B), client(keep_alive=False) as gets:
        await gateway.apply(served(endpoint(A)))
        frozen = gateway.haproxy.left()
        await stop(frozen)
        gateway.haproxy.admin_socket.unlink()
        status = await gateway.apply(served(endpoint(B), revision=2))
        assert (status.acked, status.problems) == ({SHOP: 2}, ())
        await until(lambda: listening() == 1, 10)
        for _ in range(20):
            await gets.get()
    let_go_on([pid for pid in frozen if processes.is_alive(pid)])
    assert (gets.answers, gets.failures) == ([B] * 20, [])


FROZEN_CASES: Final[tuple[Callable[[HaproxyGateway], Awaitable[None]], ...]] = (
    a_haproxy_that_stands_still_is_ended_before_the_next_begins,
    a_haproxy_that_is_slow_for_seconds_is_left_alone,
    a_host_that_stood_still_blames_nobody,
    one_that_stands_still_and_has_lost_its_socket_does_not_go_on_listening,
)
