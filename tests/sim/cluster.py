"""A cluster in virtual time: production agents and schedulers on a fake store, runtime and gateway.

Nothing here decides: it starts, kills, cuts and heals, and looks at what came of it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec

from shared import codec, keys
from shared.model import Leader, NodeName, Resources, Revision, Stack, StackName
from shared.store import Put, Snapshot, exactly, under
from tests.build import GIB
from tests.fakes.runtime import Behaviour, FakeRuntime, Timings
from tests.fakes.store import FakeEtcd, FakeStore
from tests.sim.answers import Answers
from tests.sim.bugs import Bug
from tests.sim.checkers import Checkers
from tests.sim.host import SimHost
from tests.sim.loop import VirtualClock, VirtualLoop
from tests.sim.network import Network
from tests.sim.stacks import BAD

CAPACITY: Final = Resources(cpu_millis=4000, memory_bytes=4 * GIB)
# What is waited for is looked at this often.
_LOOK_S: Final = 0.1


class Machinery(msgspec.Struct, frozen=True, kw_only=True):
    """What a cluster is made of.

    Attributes:
        nodes: how many.
        rates: how fast each node's clock runs; those beyond the last run true.
        timings: of all containers' actions.
        profile: of the timings.
        expiry_lag_s_max: how late the store notices that a lease has ended.
        bug: what is wrong on purpose.
    """

    nodes: int = 3
    rates: tuple[float, ...] = ()
    timings: Timings = Timings()
    profile: str = "lan"
    expiry_lag_s_max: float = 0.5
    bug: Bug = Bug.NONE


class SimCluster:
    """Nodes around one store; everything random comes from one seed."""

    def __init__(
        self, loop: VirtualLoop, rng: random.Random, folder: Path, made: Machinery
    ) -> None:
        self.loop, self.folder, self.rng, self.made = loop, folder, rng, made
        self.clock = VirtualClock(loop)
        self.server = FakeEtcd(
            self.clock, expiry_lag_s=lambda: rng.random() * made.expiry_lag_s_max
        )
        self.checkers = Checkers(self.server, CAPACITY)
        self.network = Network(loop, rng)
        self.prepare: Callable[[FakeStore], None] = lambda _: None
        self.group = asyncio.TaskGroup()
        self.answers = Answers(self)
        self.stacks: dict[StackName, Stack] = {}
        self.story: list[str] = []
        self._timers: list[asyncio.TimerHandle] = []
        self.note(repr(made))
        rates = (*made.rates, *[1.0] * made.nodes)
        self.hosts = [
            SimHost(self, number, VirtualClock(loop, rate=rate, offset_s=100.0 * number))
            for number, rate in enumerate(rates[: made.nodes], start=1)
        ]

    def make_runtime(self, clock: VirtualClock) -> FakeRuntime:
        """Return a host's runtime."""
        return FakeRuntime(
            clock,
            capacity=CAPACITY,
            timings=self.made.timings,
            behaviour=lambda each: BAD.get(each.workload.image, Behaviour()),
        )

    def note(self, what: str) -> None:
        """Add a line to the story of this run."""
        self.story.append(f"{self.loop.now_s:9.3f} {what}")

    async def run(self, scenario: Callable[["SimCluster"], Awaitable[None]]) -> None:
        """Boot all nodes, run `scenario`, end everything.

        Raises:
            SafetyError: a promise was broken, whoever noticed.
        """
        try:
            async with self.group:
                for host in self.hosts:
                    host.boot()
                watching = self.group.create_task(self.answers.watch())
                await scenario(self)
                watching.cancel()
                self._end()
        finally:
            self.checkers.look()

    def _end(self) -> None:
        for timer in self._timers:
            timer.cancel()
        for host in self.hosts:
            host.power_loss()

    def deploy(self, stack: Stack) -> None:
        """Write a stack as the API does.

        Raises:
            SafetyError: one that was written before is not there.
        """
        # Later nobody would see it: this write may be in its place.
        self.checkers.deploys_are_kept()
        self.note(f"deploy {stack.name}: {_summary(stack)}")
        self.stacks[stack.name] = stack
        self.server.txn([], [Put(keys.stack(stack.name), codec.encode(stack))])
        self.checkers.deployed(stack)

    async def sleep(self, seconds: float) -> None:
        """Let true time pass.

        Raises:
            SafetyError: a promise was broken meanwhile.
        """
        await asyncio.sleep(seconds)
        self.checkers.look()

    async def until(self, condition: Callable[[], str], within_s: float) -> None:
        """Let virtual time pass until `condition` has nothing to complain of.

        Raises:
            AssertionError: it still has after `within_s` virtual seconds.
            SafetyError: a promise was broken meanwhile.
        """
        end_s = self.loop.now_s + within_s
        while complaint := condition():
            assert self.loop.now_s < end_s, f"after {within_s} s: {complaint}"
            await self.sleep(_LOOK_S)

    def revision(self) -> Revision:
        """Return the store's revision."""
        return Revision(self.server.revision)

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
        context = self.server.context
        self._timers.append(self.loop.call_later(seconds, action, context=context))


def _summary(stack: Stack) -> str:
    return ", ".join(
        f"{each.name} x{each.replicas}+{each.standby} {each.workload.image}"
        f"{' exclusive' if each.workload.exclusive else ''}"
        for each in stack.services
    )
