"""Which ports say that a container without a healthcheck is ready."""

import asyncio
from collections.abc import Iterable

import msgspec
import pytest

from node_agent.health import ProbeState
from node_agent.probe import Prober
from node_agent.track import Track
from shared.clock import SystemClock
from shared.model import AllocId, Health, Protocol, PublishedPort
from tests.build import container
from tests.fakes.runtime import FakeRuntime

TCP = PublishedPort(published=53, target=5353)
UDP = PublishedPort(published=53, target=53, protocol=Protocol.UDP)


@pytest.mark.parametrize(
    ("ports", "asked"), [((), []), ((UDP,), []), ((TCP, UDP), [5353]), ((UDP, TCP, TCP), [5353])]
)
async def test_no_connection_is_tried_to_a_port_of_udp(
    ports: tuple[PublishedPort, ...], asked: list[int]
) -> None:
    seen: list[list[int]] = []
    found = asyncio.get_running_loop().create_future()

    async def answers(_address: str, ports_: Iterable[int], _timeout_s: float) -> bool:
        seen.append(list(ports_))
        return True

    def told(_id: AllocId, _start: int, state: ProbeState) -> None:
        found.set_result(state.health)

    one = container("shop.dns.1.a")
    workload = msgspec.structs.replace(one.assignment.workload, ports=ports)
    assignment = msgspec.structs.replace(one.assignment, workload=workload)
    one = msgspec.structs.replace(one, assignment=assignment)
    clock = SystemClock()
    async with asyncio.TaskGroup() as group:
        prober = Prober(FakeRuntime(clock), clock, group, told=told, answers=answers)
        prober.follow([one], {one.id: Track(started_at=clock.monotonic_s())})
        async with asyncio.timeout(5):
            health = await found
        prober.follow([], {})
    assert (health, seen) == (Health.HEALTHY, [asked])
