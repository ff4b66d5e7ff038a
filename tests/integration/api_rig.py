"""A server of the API on a real unix socket, a store in memory behind it, a client before it."""

import asyncio
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from deploy.client import ApiClient
from scheduler.api.changes import Changes
from scheduler.api.server import ApiServer
from scheduler.explain import explain
from shared import codec, keys
from shared.api import EtcdMemberView, StackUpload
from shared.clock import SystemClock
from shared.mirror import mirror
from shared.model import (
    AllocId,
    Endpoint,
    Manifest,
    NodeName,
    Record,
    Report,
    Resources,
    Revision,
    Routes,
    ServiceName,
    ServiceRoutes,
    ServiceSpec,
    Session,
    StackName,
)
from shared.settings import API_PORT, EtcdSettings, SecretsSettings, Settings, TlsSettings
from shared.store import Compare, Delete, Put, under
from shared.view import View
from tests.build import assignment, node_spec, running, service
from tests.fakes.store import FakeEtcd, FakeStore
from tests.waiting import until

SHOP, BLOG = StackName("shop"), StackName("blog")
# A command that is waited for has to start Python first.
WITHIN_S = 20.0


async def members() -> tuple[EtcdMemberView, ...]:
    """Say how the members are that the store in memory stands for."""
    names = ("etcd-1:2379", "etcd-2:2379", "etcd-3:2379")
    return tuple(
        EtcdMemberView(endpoint=name, version="3.5.33", leader=name == names[0]) for name in names
    )


class Rig:
    """A server, a client of it, and the store behind both."""

    def __init__(
        self,
        folder: Path,
        address: str = "127.0.0.1",
        tls: TlsSettings | None = None,
        etcd: FakeEtcd | None = None,
        secrets: SecretsSettings = SecretsSettings(),  # noqa: B008 - frozen
        *,
        vips: str = "",
    ) -> None:
        clock = SystemClock()
        self.server = FakeEtcd(clock) if etcd is None else etcd
        self.store = FakeStore(self.server, "scheduler")
        self.other = FakeStore(self.server, "somebody else")
        self.changes = Changes()
        self.view = View(self.changes.mark)
        self.clock = clock
        self.settings = Settings(
            node="node-1",
            address=address,
            subnet="198.19.1.0/24",
            pool="198.19.0.0/16",
            vips=vips,
            etcd=EtcdSettings(endpoints=()),
            tls=tls,
            secrets=secrets,
            data_dir=folder / "data",
            run_dir=folder,
            # A silent node is not lost yet when a command that was started meanwhile looks at it.
            profile="wan",
        )
        self.socket = folder / "api.sock"
        self._endpoints: dict[AllocId, Endpoint] = {}

    async def run(self, group: asyncio.TaskGroup) -> tuple[asyncio.Task[None], ...]:
        api = ApiServer(self.store, self.view, self.changes, explain, self.settings, self.clock)
        rng = random.Random(1)  # noqa: S311 - jitter
        watching = mirror(self.store, under(keys.ROOT), self.view, self.clock, rng)
        tasks = group.create_task(api.serve(members)), group.create_task(watching)
        await until(lambda: self._listens() and bool(self.view.revision), WITHIN_S)
        return tasks

    def _listens(self) -> bool:
        if self.settings.tls is None:
            return self.socket.exists()
        with socket.socket() as probe:
            is_open = probe.connect_ex((self.settings.address, API_PORT)) == 0
        return is_open and self.socket.exists()

    async def put(self, key: str, record: Record) -> Revision:
        found = await self.other.list(under(keys.ROOT))
        before = next((item.mod_revision for item in found.items if item.key == key), Revision(0))
        written = await self.other.txn([Compare(key, before)], [Put(key, codec.encode(record))])
        await self.seen(written)
        return written

    async def delete(self, key: str) -> None:
        await self.seen(await self.other.txn([], [Delete(key)]))

    async def seen(self, written: Revision) -> None:
        """Wait until the server shows a write."""
        await until(lambda: self.view.revision >= written, WITHIN_S)

    async def join(self, name: str, address: str = "") -> None:
        """Make a node that lives and has nothing."""
        node, spec = NodeName(name), node_spec(name)
        if address:
            spec = msgspec.structs.replace(spec, address=address)
        await self.put(keys.node_spec(node), spec)
        await self.put(
            keys.node_alive(node),
            Session(node=node, boot_id="1", version="1", profile=self.settings.profile),
        )
        await self.put(keys.observed(node), Report(node=node, capacity=Resources(cpu_millis=1000)))

    async def run_replica(
        self, name: str, spec: ServiceSpec, slot: int = 1, *, is_routed: bool = False
    ) -> None:
        """Make the node run one ready replica; `is_routed`: and every gateway know of it."""
        node, wanted = NodeName(name), assignment(f"shop.{spec.name}.{slot}.a", spec.workload)
        manifest = Manifest(node=node, generation=1, assignments=(wanted,))
        self._endpoints[wanted.id] = Endpoint(allocation=wanted.id, node=node, address="198.19.1.2")
        # All at once: who is told of progress may else be told of something in between. With
        # nothing but this write in between, the next revision is that of the routes, too.
        written = Revision(self.server.revision + 1)
        report = Report(
            node=node,
            capacity=Resources(cpu_millis=1000),
            allocations=(running(wanted.id),),
            acked={SHOP: written} if is_routed else {},
        )
        records: dict[str, Record] = {keys.desired(node): manifest, keys.observed(node): report}
        if is_routed:
            records[keys.routes(SHOP)] = self._routes()
        ops = [Put(key, codec.encode(record)) for key, record in records.items()]
        assert self.server.txn([], ops) == written
        await self.seen(written)

    def _routes(self) -> Routes:
        """Return where everything that runs is."""
        services = {id_.split(".")[1] for id_ in self._endpoints}
        routes = tuple(
            ServiceRoutes(
                service=ServiceName(name),
                ports=(),
                endpoints=tuple(
                    one for id_, one in self._endpoints.items() if id_.split(".")[1] == name
                ),
            )
            for name in sorted(services)
        )
        return Routes(stack=SHOP, services=routes)


@asynccontextmanager
async def cluster(
    folder: Path,
    address: str = "127.0.0.1",
    tls: TlsSettings | None = None,
    etcd: FakeEtcd | None = None,
    secrets: SecretsSettings = SecretsSettings(),  # noqa: B008 - frozen
    *,
    vips: str = "",
) -> AsyncIterator[tuple[Rig, ApiClient]]:
    rig = Rig(folder, address, tls, etcd, secrets, vips=vips)
    async with asyncio.TaskGroup() as group:
        tasks = await rig.run(group)
        async with ApiClient.unix(rig.socket) as client:
            yield rig, client
        for task in tasks:
            task.cancel()


def upload(*services: ServiceSpec, source: str = "") -> StackUpload:
    return StackUpload(services=services or (service(),), source=source)
