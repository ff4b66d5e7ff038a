"""A cluster in virtual time: production agents and schedulers on a fake store, runtime and gateway.

Nothing here decides: it starts, kills, cuts and heals, and looks at what came of it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from node_agent.agent import Agent, Outside
from node_agent.journal import Journal
from node_agent.runtime import Phase
from scheduler.scheduler import Scheduler
from shared import codec, keys
from shared.model import (
    AllocId,
    Health,
    Leader,
    NodeName,
    NodeSpec,
    Report,
    Resources,
    Revision,
    ServiceName,
    Stack,
    StackName,
)
from shared.settings import EtcdSettings, Settings
from shared.states import AllocState
from shared.store import Condition, Op, Put, Snapshot, exactly, under
from tests.build import GIB
from tests.fakes.gateway import FakeGateway
from tests.fakes.runtime import FakeRuntime
from tests.fakes.store import FakeEtcd, FakeStore
from tests.sim.checkers import Checkers
from tests.sim.loop import VirtualClock, VirtualLoop

CAPACITY: Final = Resources(cpu_millis=4000, memory_bytes=4 * GIB)
# As `hafen run` starts a part again that ended.
_RESPAWN_S: Final = 0.2


class SimStore(FakeStore):
    """A client whose accepted writes are checked."""

    def __init__(self, server: FakeEtcd, node: NodeName, part: str, checkers: Checkers) -> None:
        super().__init__(server, f"{node}/{part}")
        self._node, self._checkers = node, checkers

    def _write(self, conditions: Sequence[Condition], ops: Sequence[Op]) -> object:  # type: ignore[override]
        answer = super()._write(conditions, ops)
        if not isinstance(answer, Exception):
            self._checkers.wrote(self._node, ops)
        return answer


class SimNode:
    """One host: what survives its power loss, and the parts that run while it is on."""

    def __init__(self, cluster: "SimCluster", number: int) -> None:
        self.name = NodeName(f"node-{number}")
        self._cluster = cluster
        self._settings = Settings(
            node=self.name,
            address=f"198.18.0.{number}",
            subnet=f"198.19.{number}.0/24",
            pool="198.19.0.0/16",
            etcd=EtcdSettings(endpoints=("fake",)),
        )
        self.runtime = FakeRuntime(cluster.clock, capacity=CAPACITY)
        self.gateway = FakeGateway()
        self._disk = cluster.folder / self.name
        self.is_on = False
        self.stores: dict[str, SimStore] = {}
        self._parts: dict[str, asyncio.Task[None]] = {}

    def boot(self) -> None:
        """Start every part."""
        self.is_on = True
        for part in ("agent", "scheduler"):
            self._start(part)

    def power_loss(self) -> None:
        """End everything at once, unsaid goodbyes included."""
        self.is_on = False
        for part in tuple(self._parts):
            self._kill(part)
        self.runtime.power_loss()
        self.gateway = FakeGateway()

    def crash(self, part: str) -> None:
        """Kill one part; it is started again a moment later, as a supervisor does."""
        if self.is_on:
            self._kill(part)
            if part == "agent":
                self.runtime.agent_crash()
            self._cluster.later(_RESPAWN_S, lambda: self._start(part) if self.is_on else None)

    def cut(self) -> None:
        """Lose the way to the store."""
        for store in self.stores.values():
            store.cut()

    def heal(self) -> None:
        """Find it again."""
        for store in self.stores.values():
            store.heal()

    def _start(self, part: str) -> None:
        if part in self._parts:
            return
        store = SimStore(self._cluster.server, self.name, part, self._cluster.checkers)
        self._cluster.prepare(store)
        self.stores[part] = store
        work = self._agent(store) if part == "agent" else self._scheduler(store)
        self._parts[part] = self._cluster.group.create_task(work)

    def _kill(self, part: str) -> None:
        task = self._parts.pop(part, None)
        if task is not None:
            # The dead say nothing: no lease of theirs is revoked.
            self.stores.pop(part).cut()
            task.cancel()

    async def _agent(self, store: FakeStore) -> None:
        outside = Outside(
            runtime=self.runtime,
            gateway=self.gateway,
            reconcile_network=_no_network,
            answers=_answers,
            journal=Journal(self._disk),
        )
        await Agent(
            store, outside, self._settings, clock=self._cluster.clock, rng=self._cluster.rng
        ).run()

    async def _scheduler(self, store: FakeStore) -> None:
        await Scheduler(
            store, self._settings, clock=self._cluster.clock, rng=self._cluster.rng
        ).run()

    def running(self) -> list[AllocId]:
        """Return what truly runs here, whatever anybody thinks."""
        return sorted(
            container.id for container in self.runtime.all() if container.phase is Phase.RUNNING
        )


async def _no_network(_: Sequence[NodeSpec]) -> None:
    return


async def _answers(_address: str, _ports: Iterable[int], _timeout_s: float) -> bool:
    return True


class SimCluster:
    """Nodes around one store; everything random comes from one seed."""

    def __init__(self, loop: VirtualLoop, seed: int, nodes: int, folder: Path) -> None:
        self.clock, self.folder = VirtualClock(loop), folder
        self.rng = random.Random(seed)  # noqa: S311 - replays exactly
        self.server = FakeEtcd(self.clock)
        self.checkers = Checkers(self.server, CAPACITY)
        self.prepare: Callable[[FakeStore], None] = lambda _: None
        self.group = asyncio.TaskGroup()
        self.stacks: dict[StackName, Stack] = {}
        self.story: list[str] = []
        self._timers: list[asyncio.TimerHandle] = []
        self.nodes = [SimNode(self, number) for number in range(1, nodes + 1)]

    def note(self, what: str) -> None:
        """Add a line to the story of this run."""
        self.story.append(f"{self.clock.monotonic_s():9.3f} {what}")

    async def run(self, scenario: Callable[["SimCluster"], Awaitable[None]]) -> None:
        """Boot all nodes, run `scenario`, end everything."""
        async with self.group:
            for node in self.nodes:
                node.boot()
            await scenario(self)
            for timer in self._timers:
                timer.cancel()
            for node in self.nodes:
                node.power_loss()

    def deploy(self, stack: Stack) -> None:
        """Write a stack as the API does."""
        self.note(f"deploy {stack.name}: {[(s.name, s.replicas) for s in stack.services]}")
        self.stacks[stack.name] = stack
        self.server.txn([], [Put(keys.stack(stack.name), codec.encode(stack))])

    async def until(self, condition: Callable[[], bool], within_s: float, what: str) -> None:
        """Let virtual time pass until `condition` holds.

        Raises:
            AssertionError: it did not within `within_s` virtual seconds.
        """
        end_s = self.clock.monotonic_s() + within_s
        while not condition():
            assert self.clock.monotonic_s() < end_s, f"not within {within_s} s: {what}"
            await self.clock.sleep(0.05)

    def revision(self) -> Revision:
        """Return the store's revision."""
        return self.server.list(under(keys.LEADER)).revision

    def leader(self) -> NodeName | None:
        """Return who leads, by the store."""
        items = self.server.list(exactly(keys.LEADER)).items
        return codec.decode(Leader, items[0].value, items[0].key).node if items else None

    def contents(self) -> Snapshot:
        """Return everything in the store but what differs from run to run by design."""
        snapshot = self.server.list(under(keys.ROOT))
        kept = tuple(item for item in snapshot.items if not item.key.endswith("/alive"))
        return Snapshot(kept, snapshot.revision)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something after so many virtual seconds, unless the run is over by then."""
        self._timers.append(asyncio.get_running_loop().call_later(seconds, action))

    def is_converged(self) -> bool:
        """Say whether living nodes run exactly what is asked for, ready and routed."""
        wanted = sorted(
            (stack.name, service.name, slot)
            for stack in self.stacks.values()
            for service in stack.services
            for slot in range(1, service.replicas + 1)
        )
        runs = [slot_of(id_) for node in self.nodes if node.is_on for id_ in node.running()]
        return sorted(runs) == wanted and self._ready() == len(wanted) and self._routed()

    def _ready(self) -> int:
        names = {node.name for node in self.nodes if node.is_on}
        reports = [
            codec.decode(Report, item.value, item.key)
            for item in self.server.list(under(keys.OBSERVED)).items
        ]
        return sum(
            status.state is AllocState.RUNNING and status.health is Health.HEALTHY
            for report in reports
            if report.node in names
            for status in report.allocations
        )

    def _routed(self) -> bool:
        return all(
            len(node.gateway.leads_to(f"{stack.name}.{service.name}")) == service.replicas
            for stack in self.stacks.values()
            for service in stack.services
            if service.workload.ports
            for node in self.nodes
            if node.is_on
        )


def slot_of(id_: AllocId) -> tuple[StackName, ServiceName, int]:
    """Return stack, service and slot of an allocation."""
    stack, service, slot, _ = id_.split(".")
    return StackName(stack), ServiceName(service), int(slot)
