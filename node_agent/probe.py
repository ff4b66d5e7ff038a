"""Probes running containers: their healthcheck, or their ports until they answer."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Final

import msgspec

from node_agent.health import ProbeState, after_probe, probe_pause_s
from node_agent.runtime import Container, Phase, Runtime
from node_agent.track import Tracks
from shared.clock import Clock
from shared.errors import RuntimeFailureError
from shared.model import AllocId, Health, listened

# A port that is closed stays silent (see network.rules), so what is not open yet costs this much.
# It
# is doubled at every look, for machines that are too busy to answer so soon.
_CONNECT_MIN_S: Final = 0.01
_CONNECT_MAX_S: Final = 0.5
_DOUBLINGS_MAX: Final = 10
# The last line of what a failing check printed is what a person wants to see.
_SAID_MAX: Final = 200


Answers = Callable[[str, Iterable[int], float], Awaitable[bool]]


class _Watched(msgspec.Struct, frozen=True):
    """One start of one container."""

    id: AllocId
    start: int


class Prober:
    """Keeps one loop per running container and tells what it finds.

    Args:
        runtime: runs healthchecks inside containers.
        clock: time.
        group: owns the loops.
        told: called with allocation, start and state after every probe that says something new.
        answers: says whether ports of an address accept connections.
    """

    def __init__(
        self,
        runtime: Runtime,
        clock: Clock,
        group: asyncio.TaskGroup,
        *,
        told: Callable[[AllocId, int, ProbeState], None],
        answers: Answers,
    ) -> None:
        self._runtime, self._clock, self._group = runtime, clock, group
        self._told, self._answers = told, answers
        self._loops: dict[_Watched, asyncio.Task[None]] = {}

    def follow(self, containers: Iterable[Container], tracks: Tracks) -> None:
        """Make the loops fit what runs: one for each start of each running container."""
        running = {
            _Watched(container.id, container.started): container
            for container in containers
            if container.phase is Phase.RUNNING
        }
        for watched in self._loops.keys() - running.keys():
            self._loops.pop(watched).cancel()
        for watched in sorted(running.keys() - self._loops.keys(), key=lambda each: each.id):
            container, track = running[watched], tracks[watched.id]
            started_at = track.started_at
            assert started_at is not None, f"{watched.id} runs, so its track has a start"
            self._loops[watched] = self._group.create_task(
                self._probe_on(container, track.probed, started_at)
            )

    async def _probe_on(self, container: Container, state: ProbeState, started_at: float) -> None:
        check = container.assignment.workload.healthcheck
        while True:
            age_s = self._clock.monotonic_s() - started_at
            pause_s = probe_pause_s(state, check, age_s)
            if pause_s is None or state.health is Health.UNHEALTHY:
                return
            if state.probes:
                await self._clock.sleep(pause_s)
            passed, said = await self._probe(container, state.probes)
            age_s = self._clock.monotonic_s() - started_at
            after = after_probe(state, check, passed=passed, said=said, age_s=age_s)
            if (after.health, after.failures) != (state.health, state.failures):
                self._told(container.id, container.started, after)
            state = after

    async def _probe(self, container: Container, before: int) -> tuple[bool, str]:
        workload = container.assignment.workload
        if workload.healthcheck is None:
            ports = listened(workload)
            patience_s = min(_CONNECT_MIN_S * 2.0 ** min(before, _DOUBLINGS_MAX), _CONNECT_MAX_S)
            return await self._answers(container.address, ports, patience_s), ""
        try:
            result = await self._runtime.exec(
                container.id, workload.healthcheck.test, workload.healthcheck.timeout_s
            )
        except RuntimeFailureError as error:
            return False, str(error)[:_SAID_MAX]
        lines = result.output.strip().splitlines()
        said = lines[-1] if lines else f"exit code {result.exit_code}"
        return result.exit_code == 0, said[:_SAID_MAX]


async def answers(address: str, ports: Iterable[int], timeout_s: float) -> bool:
    """Say whether every port of `address` accepts a TCP connection within `timeout_s`."""
    try:
        async with asyncio.timeout(timeout_s):
            for port in ports:
                _, writer = await asyncio.open_connection(address, port)
                writer.close()
                with suppress(ConnectionError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    return True
