"""What test_gateway.py runs, one case a process: its network and process namespaces are its own.

Replicas are small HTTP servers on addresses of the loopback interface; their death is a closed
socket or a dropped address. Everything else is real: HAProxy, nftables, the kernel's socket
destruction.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from node_agent.gateway.haproxy import HaproxyGateway
from shared.model import (
    EndpointState,
    Protocol,
    PublishedPort,
    Revision,
    Routes,
    ServiceName,
    ServiceRoutes,
    StackName,
)
from tests.contract.access_cases import ACCESS_CASES
from tests.contract.acme_cases import ACME_CASES
from tests.contract.gateway_frozen import FROZEN_CASES
from tests.contract.gateway_lost import LOST_CASES
from tests.contract.gateway_rig import (
    PORT,
    SHOP,
    TARGET,
    A,
    B,
    client,
    endpoint,
    is_closed,
    load,
    replica,
    retries,
    served,
    set_up_network,
)
from tests.contract.gateway_sockets import SOCKET_CASES
from tests.contract.gateway_vanished import VANISHED_CASES
from tests.contract.route_cases import ROUTE_CASES
from tests.contract.route_rig import PORTS
from tests.contract.tls_cases import TLS_CASES
from tests.waiting import until

OTHER = StackName("other")


async def requests_reach_every_replica(gateway: HaproxyGateway) -> None:
    async with replica(A), replica(B), client(keep_alive=False) as gets:
        status = await gateway.apply(served(endpoint(A), endpoint(B), revision=7))
        assert (status.acked, status.problems) == ({SHOP: 7}, ())
        for _ in range(10):
            await gets.get()
            await gets.get(method="POST")
        assert set(gets.answers) == {A, B}
        assert gets.failures == [], gets.failures[:5]


async def a_request_waits_for_the_first_replica(gateway: HaproxyGateway) -> None:
    await gateway.apply(served(replicas=1))
    async with client() as gets, asyncio.TaskGroup() as group:
        task = group.create_task(gets.get())
        await until(lambda: retries(gateway) > 1, 10)
        assert not task.done()
        async with replica(A):
            await gateway.apply(served(endpoint(A), replicas=1, revision=2))
            await task
    assert (gets.answers, gets.failures) == ([A], [])


async def ports_that_the_kernel_carries_are_left_to_it(gateway: HaproxyGateway) -> None:
    ports = (
        PublishedPort(published=PORT, target=TARGET, protocol=Protocol.TCP, is_host=True),
        PublishedPort(published=PORT, target=TARGET, protocol=Protocol.UDP),
        PublishedPort(published=PORT + 1, target=TARGET),
    )
    service = ServiceRoutes(service=ServiceName("web"), ports=ports, endpoints=(endpoint(A),))
    status = await gateway.apply({SHOP: (Revision(1), Routes(stack=SHOP, services=(service,)))})
    assert (status.acked, status.problems) == ({SHOP: 1}, ())
    with socket.socket() as ours, socket.socket() as other:
        ours.bind(("0.0.0.0", PORT))
        assert other.connect_ex(("127.0.0.1", PORT + 1)) == 0


async def the_only_replica_vanishes_under_load(gateway: HaproxyGateway) -> None:
    async with replica(A) as first, replica(B), client() as gets:
        await gateway.apply(served(endpoint(A), replicas=1))
        async with load(gets):
            await until(lambda: len(gets.answers) > 50, 10)
            await first.die()
            await gateway.apply(served(replicas=1, revision=2))
            count = len(gets.answers)
            await until(lambda: retries(gateway) > 20, 10)
            assert len(gets.answers) <= count + 1
            await gateway.apply(served(endpoint(B), replicas=1, revision=3))
            await until(lambda: gets.answers.count(B) > 50, 10)
    assert gets.failures == [], gets.failures[:5]


async def a_drained_replica_is_busy_until_its_request_is_answered(
    gateway: HaproxyGateway,
) -> None:
    async with replica(A) as slow, replica(B), client() as gets, asyncio.TaskGroup() as group:
        await gateway.apply(served(endpoint(A)))
        slow.release.clear()
        task = group.create_task(gets.get())
        await until(slow.has_request.is_set, 10)
        drained = served(endpoint(A, EndpointState.DRAINING), endpoint(B), revision=2)

        async def is_busy() -> bool:
            return (await gateway.apply(drained)).busy == (endpoint(A).allocation,)

        await until(is_busy, 10)
        await gets.get()
        slow.release.set()
        await task

        async def is_idle() -> bool:
            return (await gateway.apply(drained)).busy == ()

        await until(is_idle, 10)
    assert sorted(gets.answers) == [A, B]


async def an_agent_that_was_killed_finds_haproxy_running(gateway: HaproxyGateway) -> None:
    async with replica(A), replica(B), client() as gets:
        await gateway.apply(served(endpoint(A)))
        before = await gateway.haproxy.command("show info")
        async with load(gets):
            again = HaproxyGateway(gateway.run_dir)
            await again.apply(served(endpoint(B), revision=2))
            await until(lambda: gets.answers.count(B) > 20, 10)
        assert pid_of(await again.haproxy.command("show info")) == pid_of(before)
    assert gets.failures == [], gets.failures[:5]


def pid_of(info: str) -> int:
    return next(int(line.split()[1]) for line in info.splitlines() if line.startswith("Pid:"))


async def a_haproxy_that_died_is_started_again(gateway: HaproxyGateway) -> None:
    async with replica(A), client(keep_alive=False) as gets:
        wanted = served(endpoint(A))
        await gateway.apply(wanted)
        for pid in haproxies():
            os.kill(pid, signal.SIGKILL)

        async def is_gone() -> bool:
            return not await gateway.haproxy.is_running()

        await until(is_gone, 10)

        async def is_served_again() -> bool:
            # As the agent does, again and again: what is dying may answer once more.
            await gateway.apply(wanted)
            await gets.get()
            return gets.answers == [A]

        await until(is_served_again, 10)


def haproxies() -> list[int]:
    shown = subprocess.run(["pidof", "haproxy"], capture_output=True, text=True, check=True)
    return [int(pid) for pid in shown.stdout.split()]


async def a_new_service_under_load_loses_no_request(gateway: HaproxyGateway) -> None:
    async with replica(A), client() as gets:
        wanted = served(endpoint(A))
        await gateway.apply(wanted)
        async with load(gets):
            for number in range(5):
                name = StackName(f"other{number}")
                (service,) = wanted[SHOP][1].services
                port = PublishedPort(published=9000 + number, target=TARGET)
                routes = Routes(
                    stack=name,
                    services=(ServiceRoutes(service=service.service, ports=(port,), endpoints=()),),
                )
                wanted = {**wanted, name: (Revision(2), routes)}
                status = await gateway.apply(wanted)
                assert status.problems == ()
    assert gets.failures == [], gets.failures[:5]


async def a_port_of_another_program_is_a_problem_and_the_rest_is_served(
    gateway: HaproxyGateway,
) -> None:
    async with replica(A), client(keep_alive=False) as gets:
        with socket.create_server(("0.0.0.0", 9099)):
            wanted = served(endpoint(A))
            other = served(endpoint(A), port=9099)[SHOP][1]
            wanted[StackName("other")] = (
                Revision(1),
                Routes(stack=StackName("other"), services=other.services),
            )
            status = await gateway.apply(wanted)
            taken = "port 9099 of other.web is taken by another program on this node"
            assert (status.problems, gateway.trouble) == ((taken,), taken)
            await gets.get()
        assert ((await gateway.apply(wanted)).problems, gateway.trouble) == ((), "")
    assert gets.answers == [A]


async def plain_tcp_passes_and_waits_for_a_replica(gateway: HaproxyGateway) -> None:
    await gateway.apply(served(replicas=1, protocol=Protocol.TCP))
    async with client() as gets, asyncio.TaskGroup() as group:
        task = group.create_task(gets.get())
        await until(lambda: retries(gateway) > 1, 10)
        async with replica(A):
            await gateway.apply(served(endpoint(A), replicas=1, revision=2, protocol=Protocol.TCP))
            await task
    assert (gets.answers, gets.failures) == ([A], [])


async def a_stack_that_is_removed_closes_its_port(gateway: HaproxyGateway) -> None:
    await gateway.apply(served())
    await gateway.apply({})
    # Who was told to end closes a moment later.
    await until(lambda: is_closed(PORT), 10)


async def requests_that_are_held_outlive_a_deploy(gateway: HaproxyGateway) -> None:
    async with replica(A) as first, replica(B), client() as gets:
        await gateway.apply(served(endpoint(A), replicas=1))
        async with asyncio.TaskGroup() as group:
            await gets.get()
            await first.die()
            held = served(replicas=1, revision=2)
            await gateway.apply(held)
            group.create_task(gets.get())
            await until(lambda: retries(gateway) > 1, 10)
            other = served(endpoint(B), port=9001)[SHOP][1].services
            deployed = (Revision(3), Routes(stack=OTHER, services=other))
            status = await gateway.apply({**held, OTHER: deployed})
            assert OTHER not in status.acked
            assert status.problems == (
                "port 9001 of other.web waits up to 10 s, since requests are held for shop.web",
            )
            back = served(endpoint(B), replicas=1, revision=4)
            status = await gateway.apply({**back, OTHER: deployed})
            assert (status.acked, status.problems) == ({SHOP: 4, OTHER: 3}, ())
    assert (gets.answers, gets.failures) == ([A, B], [])


async def a_drained_replica_is_busy_with_a_request_from_before_a_reload(
    gateway: HaproxyGateway,
) -> None:
    async with replica(A) as slow, replica(B), client() as gets, asyncio.TaskGroup() as group:
        await gateway.apply(served(endpoint(A)))
        slow.release.clear()
        task = group.create_task(gets.get())
        await until(slow.has_request.is_set, 10)
        other = served(port=9001)[SHOP][1].services
        deployed = (Revision(2), Routes(stack=OTHER, services=other))
        await gateway.apply({**served(endpoint(A)), OTHER: deployed})
        drained = served(endpoint(A, EndpointState.DRAINING), endpoint(B), revision=3)
        status = await gateway.apply({**drained, OTHER: deployed})
        assert status.busy == (endpoint(A).allocation,)
        slow.release.set()
        await task
    assert gets.answers == [A]


async def of_two_services_on_one_port_one_is_served_and_the_other_a_problem(
    gateway: HaproxyGateway,
) -> None:
    async with replica(A), replica(B), client(keep_alive=False) as gets:
        wanted = served(endpoint(A))
        await gateway.apply(wanted)
        rival = served(endpoint(B))[SHOP][1].services
        wanted[OTHER] = (Revision(1), Routes(stack=OTHER, services=rival))
        status = await gateway.apply(wanted)
        assert status.problems == (f"port {PORT} of other.web belongs to shop.web",)
        assert gateway.trouble == "", "so it is on every node"
        for _ in range(10):
            await gets.get()
    assert (set(gets.answers), gets.failures) == ({A}, [])


async def an_idle_connection_gets_one_more_answer_after_a_reload(gateway: HaproxyGateway) -> None:
    async with replica(A):
        wanted = served(endpoint(A))
        await gateway.apply(wanted)
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        assert await raw_post(reader, writer) == A
        other = served(port=9001)[SHOP][1].services
        await gateway.apply({**wanted, OTHER: (Revision(2), Routes(stack=OTHER, services=other))})
        assert await raw_post(reader, writer) == A
        assert await reader.read() == b""
        writer.close()


async def raw_post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
    """POST without a client that would quietly open another connection."""
    writer.write(b"POST / HTTP/1.1\r\nHost: shop\r\nContent-Length: 0\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    return (await reader.readexactly(len(A))).decode()


async def stopping_ends_every_process(gateway: HaproxyGateway) -> None:
    await gateway.apply(served())
    before = haproxies()
    await gateway.haproxy.stop()
    await until(lambda: not any(is_alive(pid) for pid in before), 10)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


CASES: Final[dict[str, Callable[[HaproxyGateway], Awaitable[None]]]] = {
    case.__name__: case
    for case in (
        requests_reach_every_replica,
        a_request_waits_for_the_first_replica,
        ports_that_the_kernel_carries_are_left_to_it,
        the_only_replica_vanishes_under_load,
        *VANISHED_CASES,
        a_drained_replica_is_busy_until_its_request_is_answered,
        an_agent_that_was_killed_finds_haproxy_running,
        a_haproxy_that_died_is_started_again,
        a_new_service_under_load_loses_no_request,
        a_port_of_another_program_is_a_problem_and_the_rest_is_served,
        plain_tcp_passes_and_waits_for_a_replica,
        a_stack_that_is_removed_closes_its_port,
        requests_that_are_held_outlive_a_deploy,
        a_drained_replica_is_busy_with_a_request_from_before_a_reload,
        of_two_services_on_one_port_one_is_served_and_the_other_a_problem,
        an_idle_connection_gets_one_more_answer_after_a_reload,
        *LOST_CASES,
        *FROZEN_CASES,
        *ACCESS_CASES,
        *SOCKET_CASES,
        *ROUTE_CASES,
        *TLS_CASES,
        *ACME_CASES,
        stopping_ends_every_process,
    )
}


async def run(case: str, folder: Path) -> None:
    """Run one case with a gateway of its own; HAProxy ends with it."""
    gateway = HaproxyGateway(folder, PORTS)
    try:
        await CASES[case](gateway)
    finally:
        await gateway.haproxy.stop()


if __name__ == "__main__":
    set_up_network()
    asyncio.run(run(sys.argv[1], Path(sys.argv[2])))
