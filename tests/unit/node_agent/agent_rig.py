"""One node for tests of a whole agent: a fake runtime and store, and nobody else."""

import random
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, Final

from node_agent.agent import Agent
from node_agent.journal import Journal
from node_agent.network.fabric import Fabric
from node_agent.outside import Outside
from node_agent.peers.net import Received, Way
from shared import codec, keys
from shared.clock import Clock
from shared.model import AllocationStatus, AllocId, Manifest, NodeName, Report
from shared.settings import EtcdSettings, SecretsSettings, Settings
from shared.states import AllocState
from shared.store import Put, exactly
from tests.fakes.addresses import FakeAddresses
from tests.fakes.fabric import FakeFabric
from tests.fakes.gateway import FakeGateway
from tests.fakes.runtime import Behaviour, FakeRuntime
from tests.fakes.store import FakeEtcd, FakeStore
from tests.waiting import until

ME: Final = NodeName("node-1")
A: Final = AllocId("shop.job.1.a")
B: Final = AllocId("shop.job.2.b")
WITHIN_S: Final = 120.0


class NoNet:
    """A network without peers."""

    def open(self, received: Received) -> None:
        del received

    def send(self, way: Way, address: str, datagram: bytes) -> None:
        del way, address, datagram

    def close(self) -> None:
        pass


class NoPromise:
    """Nothing was ever promised."""

    def read(self) -> float:
        return 0.0

    def write(self, until_boot_s: float) -> None:
        del until_boot_s


class Node:
    """What outlives the agent, and agents on it."""

    def __init__(self, clock: Clock, folder: Path) -> None:
        self.clock, self.folder = clock, folder
        self.etcd = FakeEtcd(clock)
        self.leader = FakeStore(self.etcd, "leader")
        self.store = FakeStore(self.etcd, "agent")
        self.fabric: Fabric = FakeFabric()
        self.runtime = FakeRuntime(
            clock,
            known=["app:1"],
            behaviour=lambda each: Behaviour(ends_after_s=1.0, exit_code=0 if each.id == A else 3),
        )
        key = folder / "secrets.key"
        key.write_bytes(b"k" * 32)
        key.chmod(0o600)
        self.settings = Settings(
            node=ME,
            address="198.18.0.1",
            subnet="198.19.1.0/24",
            pool="198.19.0.0/16",
            etcd=EtcdSettings(endpoints=("fake",)),
            secrets=SecretsSettings(key=key),
        )

    async def write(self, manifest: Manifest) -> None:
        await self.leader.txn([], [Put(keys.desired(ME), codec.encode(manifest))])

    def agent(self, *, cut_off: bool = False) -> Coroutine[Any, Any, None]:
        outside = Outside(
            runtime=self.runtime,
            gateway=FakeGateway(),
            fabric=self.fabric,
            answers=_answers,
            journal=Journal(self.folder),
            net=NoNet(),
            promise=NoPromise(),
            addresses=FakeAddresses(self.clock),
        )
        if cut_off:
            self.store.cut()
        rng = random.Random(1)  # noqa: S311 - jitter
        return Agent(self.store, outside, self.settings, clock=self.clock, rng=rng).run()

    def report(self) -> Report | None:
        items = self.etcd.list(exactly(keys.observed(ME))).items
        return codec.decode(Report, items[0].value, "report") if items else None

    async def reported(self, condition: Callable[[Report], bool]) -> Report:
        """Wait for a report."""

        def is_it() -> bool:
            found = self.report()
            return found is not None and condition(found)

        await until(is_it, WITHIN_S)
        found = self.report()
        assert found is not None
        return found


async def _answers(_address: str, _ports: Iterable[int], _timeout_s: float) -> bool:
    return True


def states(report: Report) -> dict[AllocId, AllocState]:
    return {each.id: each.state for each in report.allocations}


def status(report: Report, id_: AllocId) -> AllocationStatus:
    (found,) = [each for each in report.allocations if each.id == id_]
    return found
