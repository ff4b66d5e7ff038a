"""One node's agent.

Loops over containers, exclusive work, gateway, network, names, floating addresses, peers, images
and report, each comparing whole with whole.

It meets the leader only in etcd. Everything it made (containers, HAProxy, routes) outlives it, so
it may be killed at any moment; when it starts it adopts what it finds.
"""

import asyncio
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec
import structlog

from node_agent.containers import Containers
from node_agent.contents import Contents
from node_agent.edge import EdgeView
from node_agent.exclusive import Exclusive
from node_agent.floating.floating import Floating
from node_agent.gateway.gateway import GatewayStatus
from node_agent.gateway.saying import Saying
from node_agent.membership import Membership, Publisher, spec_from
from node_agent.names.part import NamesPart
from node_agent.network.fabric import FabricStatus, Topology
from node_agent.outside import Outside
from node_agent.peers.prober import Peers
from node_agent.peers.publish import SuspicionPublisher
from node_agent.prefetch import Prefetch
from node_agent.views import (
    Kept,
    ManifestView,
    RoutesView,
    node_specs,
    other_networks,
    present_nodes,
)
from node_agent.volumes import Volumes
from node_agent.watchdog import Watchdog
from shared import codec, keys
from shared.clock import Clock
from shared.errors import CodecError
from shared.loop import Dirty, reconcile_forever
from shared.mirror import mirror
from shared.model import AllocationStatus, Manifest, Report, Revision, Silence, StackName
from shared.settings import Settings
from shared.states import TERMINAL
from shared.store import Store, exactly, under
from shared.view import View

_log = structlog.get_logger()

# Looks whether HAProxy lives, and how many requests drained endpoints still have.
_GATEWAY_PERIOD_S: Final = 1.0
_GATEWAY_BUSY_PERIOD_S: Final = 0.2
# Looks through the whole kernel, and heals what somebody removed by hand.
_NETWORK_PERIOD_S: Final = 5.0
# Looks whether drained endpoints still have connections.
_NETWORK_BUSY_PERIOD_S: Final = 0.5
_REPORT_PERIOD_S: Final = 60.0


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
        self._spec = spec_from(settings)
        self._gateway_dirty, self._network_dirty = Dirty(), Dirty()
        self._report_dirty, self._suspicions_dirty = Dirty(), Dirty()
        self._desired, self._nodes = View(self._containers_changed), View(self._nodes_changed)
        self._routes, self._networks = View(self._routes_changed), View(self._network_dirty.mark)
        self._specs = Kept(self._nodes, keys.NODES, node_specs)
        self._others = Kept(self._networks, keys.NETWORKS, other_networks)
        self._edge = EdgeView(self._gateway_dirty.mark, settings.secrets.key)
        self._publisher = Publisher(store, keys.observed(self._spec.name))
        self._report = Report(node=self._spec.name, capacity=outside.runtime.capacity())
        self._published: Report | None = None
        self._is_resumed = self._is_told = False
        self._gateway_status, self._fabric_status = GatewayStatus(), FabricStatus()
        self._look_at_s = 0.0
        self._membership = Membership(store, self._spec, settings, clock, rng)
        self._peers = self._among_peers(settings)
        self._suspicions = self._of_peers()
        self._membership.on_change(self._suspicions_dirty.mark)
        self._membership.on_join(self._joined)
        self._exclusive = self._with_claims()
        self._floating = self._with_addresses()
        self._saying = Saying(store, self._spec.name, outside.gateway, clock)
        runtime, changed = outside.runtime, self._report_dirty.mark
        self._prefetch, self._volumes = Prefetch(runtime, changed), Volumes(runtime, changed)
        self._page = outside.journal.read(clock.monotonic_s())
        self._manifest = ManifestView(self._desired, self._spec.name, self._page.manifest)
        self._containers = Containers(
            outside,
            self._manifest,
            self._exclusive,
            clock,
            boot_patience_s=settings.timing.boot_patience_s,
            told=self._tell,
        )
        self._served, self._settings = RoutesView(self._routes), settings
        self._names = NamesPart(outside.names, settings.pools, self._served, changed)

    async def run(self) -> None:
        """Adopt what is there, then reconcile for ever.

        Raises:
            SettingsError: this host's name or subnet belongs to another.
        """
        async with asyncio.TaskGroup() as group:
            self._containers.begin(
                group, self._page.tracks, Contents(self._store, self._settings.secrets.key)
            )
            for keys_, view in (
                (exactly(keys.desired(self._spec.name)), self._desired),
                (under(keys.ROUTES), self._routes),
                (under(keys.NODES), self._nodes),
                (under(keys.NETWORKS), self._networks),
                (under(keys.CLAIMS), self._exclusive.view),
                (under(keys.FLOATING), self._floating.look.records),
                (under(keys.VIPS), self._floating.look.claims),
                (under(keys.SUSPECTS), self._floating.look.words),
                (under(keys.GATEWAYS), self._floating.look.gateways),
                *self._edge.followed(),
            ):
                group.create_task(mirror(self._store, keys_, view, self._clock, self._rng))
            group.create_task(self._membership.run())
            group.create_task(self._peers.run())
            if self._settings.watchdog is not None:
                group.create_task(self._watchdog(self._settings.watchdog).run())
            for one_pass, dirty in (
                (self._containers_pass, self._containers.dirty),
                (self._exclusive.claims_pass, self._exclusive.claims_dirty),
                (self._exclusive.fuse_pass, self._exclusive.fuse_dirty),
                (self._suspicions.one_pass, self._suspicions_dirty),
                (self._prefetch.one_pass, self._prefetch.dirty),
                (self._volumes.one_pass, self._volumes.dirty),
                (self._gateway_pass, self._gateway_dirty),
                (self._saying.one_pass, Dirty()),
                (self._network_pass, self._network_dirty),
                (self._names.one_pass, self._names.dirty),
                (self._report_pass, self._report_dirty),
                *self._floating.passes(),
            ):
                group.create_task(reconcile_forever(one_pass, dirty, self._clock, self._rng))

    def _among_peers(self, settings: Settings) -> Peers:
        return Peers(
            self._spec.name,
            settings.timing,
            self._outside.net,
            self._outside.promise,
            clock=self._clock,
            rng=self._rng,
            has_session=lambda: self._membership.is_in_contact,
            on_change=self._suspicions_changed,
        )

    def _with_claims(self) -> Exclusive:
        return Exclusive(
            self._store,
            self._membership,
            self._outside.runtime,
            self._peers,
            self._clock,
            changed=self._containers_changed,
        )

    def _with_addresses(self) -> Floating:
        return Floating(
            self._store,
            self._membership,
            self._outside.addresses,
            self._peers,
            self._clock,
            told=self._report_dirty.mark,
        )

    def _of_peers(self) -> SuspicionPublisher:
        return SuspicionPublisher(
            self._store,
            self._spec.name,
            self._clock,
            lease=lambda: self._membership.lease_id,
            suspicions=lambda: self._peers.suspicions,
        )

    def _watchdog(self, device: Path) -> Watchdog:
        return Watchdog(
            device,
            self._membership.timing.lease_ttl_s,
            self._clock,
            until_s=lambda: self._exclusive.until_s,
            exclusive_runs=lambda: self._exclusive.runs,
        )

    # ------------------------------------------------------------ what wakes whom

    def _containers_changed(self) -> None:
        self._containers.dirty.mark()

    def _routes_changed(self) -> None:
        # Whose way is longest begins: nft works on while the others are thought about.
        self._network_dirty.mark()
        self._gateway_dirty.mark()
        self._names.dirty.mark()

    def _nodes_changed(self) -> None:
        specs, present = self._specs.now(), present_nodes(self._nodes)
        self._peers.follow(specs)
        self._exclusive.crowd(present=len(present), nodes=len(specs))
        self._floating.crowd(specs, present)
        self._network_dirty.mark()

    def _joined(self) -> None:
        # Somebody had removed this node, and its records with it.
        self._publisher.doubt()
        self._saying.say_again()
        self._report_dirty.mark()

    def _suspicions_changed(self) -> None:
        silent = {node for node, what in self._peers.suspicions.items() if what is Silence.HOST}
        # A member of etcd there would not answer either.
        self._store.avoid({spec.address for spec in self._specs.now() if spec.name in silent})
        self._suspicions_dirty.mark()
        self._report_dirty.mark()

    # ------------------------------------------------------------ containers, gateway, network

    async def _containers_pass(self) -> float:
        wait_s = await self._containers.one_pass()
        # Also when nothing could be told but a problem.
        self._report_dirty.mark()
        return wait_s

    async def _gateway_pass(self) -> float:
        routes = self._served.read()
        extras = self._edge.read()
        if routes is None or extras is None:
            return _GATEWAY_PERIOD_S
        self._gateway_status = await self._outside.gateway.apply(routes, extras)
        self._report_dirty.mark()
        return _GATEWAY_BUSY_PERIOD_S if self._gateway_status.busy else _GATEWAY_PERIOD_S

    async def _network_pass(self) -> float:
        routes = self._served.read()
        if routes is None or not self._nodes.revision or not self._networks.revision:
            return _NETWORK_PERIOD_S
        topology = Topology(self._specs.now(), routes, self._others.now())
        now = self._clock.monotonic_s()
        looks = now >= self._look_at_s
        if looks:
            self._look_at_s = now + _NETWORK_PERIOD_S
        self._fabric_status = await self._outside.fabric.apply(topology, looks=looks)
        self._report_dirty.mark()
        until_s = self._look_at_s - self._clock.monotonic_s()
        return min(until_s, _NETWORK_BUSY_PERIOD_S) if self._fabric_status.busy else until_s

    def _acked(self) -> Mapping[StackName, Revision]:
        """Return which routes are in force wherever this node sends traffic to replicas."""
        return {
            stack: min(revision, self._fabric_status.acked[stack], self._names.acked(stack))
            for stack, revision in self._gateway_status.acked.items()
            if stack in self._fabric_status.acked
        }

    # ------------------------------------------------------------ report

    def _tell(self, found: tuple[AllocationStatus, ...], manifest: Manifest | None) -> None:
        generation = manifest.generation if manifest is not None else 0
        self._report = msgspec.structs.replace(
            self._report, allocations=found, manifest_generation=generation
        )
        self._names.look(found, manifest)
        self._prefetch.want(manifest.images if manifest is not None else ())
        # What leaves is only what etcd says now: a manifest of before may be about data of after.
        is_told = manifest is not None and self._manifest.is_current
        self._volumes.look(manifest.leaving_volumes if manifest is not None and is_told else ())
        self._is_told |= self._manifest.is_current
        self._report_dirty.mark()

    async def _report_pass(self) -> float:
        if not self._is_resumed:
            await self._resume_report()
            self._is_resumed = True
        if not self._is_told:
            # By the manifest of before, which the leader may have changed since.
            return _REPORT_PERIOD_S
        problems = (self._manifest.problem, self._containers.problem)
        report = msgspec.structs.replace(
            self._report,
            acked=self._acked(),
            busy=tuple(sorted({*self._gateway_status.busy, *self._fabric_status.busy})),
            images=self._prefetch.present,
            missing_images=self._prefetch.missing,
            volumes=self._volumes.present,
            segments=self._floating.segments,
            floating=self._floating.problems,
            problems=(
                *(problem for problem in problems if problem),
                *self._served.problems,
                *self._edge.problems,
                *self._gateway_status.problems,
                *self._fabric_status.problems,
                *self._names.problems,
                *self._peers.problems,
                *self._prefetch.problems,
                *self._volumes.problems,
            ),
        )
        if report != self._published or self._publisher.is_doubtful:
            await self._publisher.write(codec.encode(report))
            self._published = report
        return _REPORT_PERIOD_S

    async def _resume_report(self) -> None:
        """Take over what the agent before us reported: an unchanged node writes nothing."""
        value = await self._publisher.read()
        if value is None:
            self._containers.resume({})
            return
        try:
            self._published = codec.decode(Report, value, keys.observed(self._spec.name))
        except CodecError:
            self._containers.resume({})
            return  # Ours to write: it is replaced.
        before = {status.id: status for status in self._published.allocations}
        self._containers.resume(before)
        self._report = msgspec.structs.replace(
            self._report,
            allocations=tuple(_same_date(s, before.get(s.id)) for s in self._report.allocations),
        )


def _same_date(status: AllocationStatus, before: AllocationStatus | None) -> AllocationStatus:
    if before is not None and before.state in TERMINAL:
        return before  # It was looked at before it was known to be over.
    if before is None or (before.state, before.health) != (status.state, status.health):
        return status
    return msgspec.structs.replace(status, since_s=before.since_s)
