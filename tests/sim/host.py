"""One simulated host: what survives its power loss, and the parts that run while it is on.

The parts are the production agent and scheduler. Each runs as a Part of its own, with a client of
the store of its own, on the host's clock.
"""

import asyncio
import errno
from collections.abc import Iterable, Sequence
from contextvars import copy_context
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from node_agent.agent import Agent
from node_agent.journal import Journal
from node_agent.outside import Outside
from node_agent.runtime import Container, Phase
from node_agent.track import Tracks
from scheduler.scheduler import Scheduler
from shared.model import AllocId, Manifest, NodeName
from shared.settings import EtcdSettings
from shared.view import View
from tests.fakes.addresses import FakeAddresses
from tests.fakes.fabric import FakeFabric
from tests.fakes.gateway import FakeGateway
from tests.fakes.runtime import FakeRuntime
from tests.fakes.store import Way
from tests.sim.bugs import settings_class
from tests.sim.loop import PART, Part, VirtualClock
from tests.sim.store import SimStore

if TYPE_CHECKING:
    from tests.sim.cluster import SimCluster

PARTS: Final = ("agent", "scheduler")
# As `hafen serve` starts a part again that ended.
_RESPAWN_S: Final = 0.2


class _Life(msgspec.Struct, frozen=True):
    """One process, from its start to its end."""

    part: Part
    store: SimStore
    task: asyncio.Task[None]


class SimHost:
    """A machine of the cluster.

    Attributes:
        net: its network card.
        disk: what becomes of writes to its disk.
        view: what its scheduler knows of the store.
    """

    def __init__(self, cluster: "SimCluster", number: int, clock: VirtualClock) -> None:
        self.name = NodeName(f"node-{number}")
        self.clock = clock
        self._cluster = cluster
        self._settings = settings_class(cluster.made.bug)(
            node=self.name,
            address=f"198.18.0.{number}",
            # Thirteen addresses: a bad day comes round to the first one again.
            subnet=f"198.19.{number}.0/28",
            pool="198.19.0.0/16",
            vips="198.18.128.0/17",
            etcd=EtcdSettings(endpoints=("fake",)),
            profile=cluster.made.profile,
        )
        self.net = cluster.network.plug_in(self.name, self._settings.address)
        self.runtime = cluster.make_runtime(clock)
        self.runtime.on_run(lambda a, phase: cluster.checkers.ran(self.name, a, phase))
        self.gateway = FakeGateway()
        self.addresses = FakeAddresses(
            clock, cluster.rng.random, self._stranger, cluster.answers.mark
        )
        self.disk = Disk(cluster.folder / self.name, self.runtime)
        self.promise = SimPromise()
        self.view = View(lambda: None)
        self._way = Way.OPEN
        self._lives: dict[str, _Life] = {}

    @property
    def is_on(self) -> bool:
        """Say whether the machine runs."""
        return self.net.is_on

    @property
    def stores(self) -> Iterable[SimStore]:
        """Return the parts' clients of the store."""
        return [life.store for life in self._lives.values()]

    def store_of(self, part: str) -> SimStore | None:
        """Return a part's client of the store."""
        life = self._lives.get(part)
        return life.store if life is not None else None

    # ------------------------------------------------------------ power

    def boot(self) -> None:
        """Start every part, unless the machine runs."""
        if not self.is_on:
            self.net.is_on = True
            self._cluster.answers.mark()
            for part in PARTS:
                self._start(part)

    def power_loss(self) -> None:
        """End everything at once, unsaid goodbyes included."""
        for part in tuple(self._lives):
            self._kill(part)
        self.net.is_on = False
        self.net.close()
        self.runtime.power_loss()
        self.gateway = FakeGateway()
        self.addresses.power_loss()
        self.promise = SimPromise()
        self.clock.reboot()

    def move(self, address: str) -> None:
        """Have another address from the next boot on."""
        self._settings = msgspec.structs.replace(self._settings, address=address)
        self.net = self._cluster.network.plug_in(self.name, address)

    def crash(self, part: str) -> None:
        """Kill one part; it is started again a moment later, as a supervisor does."""
        if part in self._lives:
            self._kill(part)
            if part == "agent":
                self.net.close()
                self.runtime.agent_crash()
            self._cluster.later(_RESPAWN_S, lambda: self._start(part) if self.is_on else None)

    # ------------------------------------------------------------ time

    def freeze(self, part: str, down_s: float, after_steps: int = 0) -> None:
        """Stop a part somewhere on its way, as SIGSTOP does, and let it go on later."""
        life = self._lives.get(part)
        if life is not None:
            life.part.freeze_after(after_steps)
            self._cluster.later(down_s, life.part.thaw)

    def thaw(self) -> None:
        """Let every part go on."""
        for life in self._lives.values():
            life.part.thaw()

    # ------------------------------------------------------------ the way to the store

    def impede(self, way: Way, part: str | None = None) -> None:
        """Let only so much pass between the store and one part, or all and those that follow."""
        if part is None:
            self._way = way
        for name, life in self._lives.items():
            if part in {None, name}:
                life.store.impede(way)

    def heal(self) -> None:
        """Let everything pass again."""
        self._way = Way.OPEN
        for store in self.stores:
            store.heal()

    # ------------------------------------------------------------ parts

    def _start(self, name: str) -> None:
        if name in self._lives:
            return
        store = SimStore(self._cluster, f"{self.name}/{name}", self.clock)
        self._cluster.prepare(store)
        if self._way is not Way.OPEN:
            store.impede(self._way)
        part, context = Part(self._cluster.loop), copy_context()
        context.run(PART.set, part)
        work = self._agent(store, part) if name == "agent" else self._scheduler(store)
        task = self._cluster.group.create_task(work, context=context)
        self._lives[name] = _Life(part, store, task)

    def _kill(self, name: str) -> None:
        life = self._lives.pop(name)
        # The dead say nothing: no lease of theirs is revoked.
        life.store.cut()
        life.part.kill()

    async def _agent(self, store: SimStore, part: Part) -> None:
        outside = Outside(
            runtime=self.runtime,
            gateway=self.gateway,
            fabric=FakeFabric(),
            answers=_answers,
            journal=SimJournal(self.disk, part, self._cluster),
            net=self.net,
            promise=self.promise,
            addresses=self.addresses,
        )
        rng = self._cluster.rng
        await Agent(store, outside, self._settings, clock=self.clock, rng=rng).run()

    async def _scheduler(self, store: SimStore) -> None:
        rng = self._cluster.rng
        scheduler = Scheduler(store, self._settings, clock=self.clock, rng=rng)
        self.view = scheduler.view
        await scheduler.run()

    def _stranger(self, address: str) -> str:
        """Say which other host answers an address, as the segment would."""
        others = [host for host in self._cluster.hosts if host is not self and host.is_on]
        known = [host for host in others if self._cluster.network.is_clear(self.name, host.name)]
        return next((host.name for host in known if host.addresses.answers(address)), "")

    # ------------------------------------------------------------ what is true

    def running(self) -> list[AllocId]:
        """Return what truly runs here, whatever anybody thinks."""
        return [each.id for each in self.containers() if each.phase is Phase.RUNNING]

    def containers(self) -> Sequence[Container]:
        """Return every container that is here, by id."""
        return self.runtime.all()


class Disk:
    """A host's disk: `stall_s` is how long every write of the agent takes."""

    def __init__(self, folder: Path, runtime: FakeRuntime) -> None:
        self.folder = folder
        self.stall_s = 0.0
        self._runtime = runtime

    @property
    def is_full(self) -> bool:
        """Say whether nothing can be written, neither by the agent nor by its runtime."""
        return self._runtime.is_full

    @is_full.setter
    def is_full(self, is_full: bool) -> None:
        self._runtime.is_full = is_full


class SimJournal(Journal):
    """The production journal on a disk that may be slow or full."""

    def __init__(self, disk: Disk, part: Part, cluster: "SimCluster") -> None:
        super().__init__(disk.folder)
        self._disk, self._part, self._cluster = disk, part, cluster

    def write(self, manifest: Manifest | None, tracks: Tracks) -> None:
        """Make the page durable, in time, or not at all."""
        if self._disk.is_full:
            raise OSError(errno.ENOSPC, "No space left on device", str(self._disk.folder))
        super().write(manifest, tracks)
        if self._disk.stall_s > 0:
            # Who waits for the disk waits with everything: it is one thread.
            self._part.freeze()
            self._cluster.later(self._disk.stall_s, self._part.thaw)


class SimPromise:
    """A promise on a disk in memory, which a reboot empties."""

    def __init__(self) -> None:
        self._until_boot_s = 0.0

    def read(self) -> float:
        """Return the moment; 0 if nothing was promised."""
        return self._until_boot_s

    def write(self, until_boot_s: float) -> None:
        """Keep the moment."""
        self._until_boot_s = until_boot_s


async def _answers(_address: str, _ports: Iterable[int], _timeout_s: float) -> bool:
    return True
