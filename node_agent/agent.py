"""One node's agent.

Loops over containers, gateway, network and report, each comparing whole with whole.

It meets the leader only in etcd. Everything it made (containers, HAProxy, routes) outlives it, so
it may be killed at any moment; when it starts it adopts what it finds.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec
import structlog

from node_agent.actions import Create, Remove, Start, Step, Stop
from node_agent.decide import decide
from node_agent.execute import Executor
from node_agent.gateway.gateway import Gateway, GatewayStatus
from node_agent.health import ProbeState
from node_agent.journal import Journal
from node_agent.membership import Publisher, spec_from, stay_member
from node_agent.probe import Answers, Prober
from node_agent.runtime import Runtime
from node_agent.status import statuses
from node_agent.track import Track, Tracks, follow, give_up
from node_agent.views import ManifestView, RoutesView, node_specs
from shared import codec, keys
from shared.clock import Clock
from shared.errors import CodecError
from shared.loop import Dirty, reconcile_forever
from shared.mirror import View, mirror
from shared.model import AllocationStatus, AllocId, Manifest, NodeSpec, Report
from shared.settings import Settings
from shared.store import Store, exactly, under

_log = structlog.get_logger()

# Looks whether HAProxy lives, and how many requests drained endpoints still have.
_GATEWAY_PERIOD_S: Final = 1.0
_GATEWAY_BUSY_PERIOD_S: Final = 0.2
# Heals routes that somebody removed by hand.
_NETWORK_PERIOD_S: Final = 30.0
_REPORT_PERIOD_S: Final = 60.0


class Outside(msgspec.Struct, frozen=True):
    """What an agent acts on; the simulation hands in its own.

    Attributes:
        reconcile_network: makes routes to the given nodes' containers true.
        answers: says whether ports of an address accept connections.
    """

    runtime: Runtime
    gateway: Gateway
    reconcile_network: Callable[[Sequence[NodeSpec]], Awaitable[None]]
    answers: Answers
    journal: Journal


class Agent:
    """Runs one node until cancelled."""

    def __init__(
        self,
        store: Store,
        outside: Outside,
        settings: Settings,
        *,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._store, self._outside, self._clock, self._rng = store, outside, clock, rng
        self._spec, self._ttl_s = spec_from(settings), settings.detection.lease_ttl_s
        self._containers_dirty, self._gateway_dirty = Dirty(), Dirty()
        self._network_dirty, self._report_dirty = Dirty(), Dirty()
        self._desired = View(self._containers_dirty.mark)
        self._routes = View(self._gateway_dirty.mark)
        self._nodes = View(self._network_dirty.mark)
        self._publisher = Publisher(store, keys.observed(self._spec.name))
        self._tracks: Tracks = {}
        self._report = Report(node=self._spec.name, capacity=outside.runtime.capacity())
        self._published: Report | None = None
        self._gateway_status = GatewayStatus()
        self._disk_problem = ""

    async def run(self) -> None:
        """Adopt what is there, then reconcile for ever.

        Raises:
            SettingsError: this host's name or subnet belongs to another.
        """
        page = self._outside.journal.read(self._clock.monotonic_s())
        self._tracks = page.tracks
        self._manifest = ManifestView(self._desired, self._spec.name, page.manifest)
        self._served = RoutesView(self._routes)
        self._outside.runtime.on_exit(self._containers_dirty.mark)
        async with asyncio.TaskGroup() as group:
            self._executor = Executor(
                self._outside.runtime, group, failed=self._failed, done=self._containers_dirty.mark
            )
            self._prober = Prober(
                self._outside.runtime,
                self._clock,
                group,
                told=self._told,
                answers=self._outside.answers,
            )
            for keys_, view in (
                (exactly(keys.desired(self._spec.name)), self._desired),
                (under(keys.ROUTES), self._routes),
                (under(keys.NODES), self._nodes),
            ):
                group.create_task(mirror(self._store, keys_, view, self._clock, self._rng))
            group.create_task(
                stay_member(self._store, self._spec, self._ttl_s, self._clock, self._rng)
            )
            for one_pass, dirty in (
                (self._containers_pass, self._containers_dirty),
                (self._gateway_pass, self._gateway_dirty),
                (self._network_pass, self._network_dirty),
                (self._report_pass, self._report_dirty),
            ):
                group.create_task(reconcile_forever(one_pass, dirty, self._clock, self._rng))

    # ------------------------------------------------------------ containers

    async def _containers_pass(self) -> float:
        manifest = self._manifest.read()
        desired = {a.id: a for a in manifest.assignments} if manifest is not None else {}
        # Before listing: a step that ends meanwhile is still taken for under way, never done twice.
        in_flight = self._executor.in_flight
        containers = await self._outside.runtime.list()
        observed = {container.id: container for container in containers}
        now = self._clock.monotonic_s()
        self._tracks = follow(self._tracks, containers, desired, now)
        self._write_journal(manifest)
        self._prober.follow(containers, self._tracks)
        decision = decide(desired, observed, self._tracks, in_flight, now)
        self._executor.begin(decision.steps)
        busy = in_flight | {step.id for step in decision.steps}
        before = {status.id: status for status in self._report.allocations}
        found = statuses(desired, observed, self._tracks, busy, before, now_s=self._clock.now_s())
        generation = manifest.generation if manifest is not None else 0
        self._tell(found, generation)
        return decision.wake_in_s

    def _write_journal(self, manifest: Manifest | None) -> None:
        try:
            self._outside.journal.write(manifest, self._tracks)
            self._disk_problem = ""
        except OSError as error:
            # What runs goes on; only a restart of this agent while etcd is away would miss it.
            self._disk_problem = f"cannot write {error.filename}: {error.strerror}"
            _log.error("journal_not_written", reason=self._disk_problem)

    def _failed(self, step: Step, reason: str) -> None:
        match step:
            case Create() | Start():
                self._tracks = {
                    **self._tracks,
                    step.id: give_up(self._tracks.get(step.id, Track()), reason),
                }
            case Stop() | Remove():
                pass  # Decided again by the next pass; the executor has logged it.

    def _told(self, id_: AllocId, start: int, state: ProbeState) -> None:
        track = self._tracks.get(id_)
        if track is not None and track.counted + 1 == start:
            self._tracks = {**self._tracks, id_: msgspec.structs.replace(track, probed=state)}
            self._containers_dirty.mark()

    # ------------------------------------------------------------ gateway, network

    async def _gateway_pass(self) -> float:
        routes = self._served.read()
        if routes is None:
            return _GATEWAY_PERIOD_S
        self._gateway_status = await self._outside.gateway.apply(routes)
        self._report_dirty.mark()
        return _GATEWAY_BUSY_PERIOD_S if self._gateway_status.busy else _GATEWAY_PERIOD_S

    async def _network_pass(self) -> float:
        if self._nodes.revision:
            await self._outside.reconcile_network(node_specs(self._nodes))
        return _NETWORK_PERIOD_S

    # ------------------------------------------------------------ report

    def _tell(self, found: tuple[AllocationStatus, ...], generation: int) -> None:
        self._report = msgspec.structs.replace(
            self._report, allocations=found, manifest_generation=generation
        )
        self._report_dirty.mark()

    async def _report_pass(self) -> float:
        if self._published is None:
            await self._resume_report()
        problems = (self._manifest.problem, self._disk_problem)
        report = msgspec.structs.replace(
            self._report,
            acked=self._gateway_status.acked,
            busy=self._gateway_status.busy,
            problems=(
                *(problem for problem in problems if problem),
                *self._served.problems,
                *self._gateway_status.problems,
            ),
        )
        if report != self._published:
            await self._publisher.write(codec.encode(report))
            self._published = report
        return _REPORT_PERIOD_S

    async def _resume_report(self) -> None:
        """Take over what the agent before us reported: an unchanged node writes nothing."""
        value = await self._publisher.read()
        if value is None:
            return
        try:
            self._published = codec.decode(Report, value, keys.observed(self._spec.name))
        except CodecError:
            return  # Ours to write: it is replaced.
        before = {status.id: status for status in self._published.allocations}
        self._report = msgspec.structs.replace(
            self._report,
            allocations=tuple(_same_date(s, before.get(s.id)) for s in self._report.allocations),
        )


def _same_date(status: AllocationStatus, before: AllocationStatus | None) -> AllocationStatus:
    if before is None or (before.state, before.health) != (status.state, status.health):
        return status
    return msgspec.structs.replace(status, since_s=before.since_s)
