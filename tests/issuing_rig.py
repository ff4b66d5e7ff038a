"""What leads and has certificates issued, on a store in memory."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

from scheduler.issuing.issuer import Fetch, Issuer
from shared import codec, keys
from shared.clock import SystemClock
from shared.election import Fence
from shared.mirror import mirror
from shared.model import Certificate, Leader, NodeName, Record, Revision
from shared.store import Put, under
from shared.view import View
from tests.fakes.etcd import FakeEtcd
from tests.fakes.store import FakeStore


class IssuingRig:
    """A store, a view of it, and an issuer that leads.

    Args:
        folder: gets the file that keys are sealed with.
        changed: called when the view has changed.
    """

    def __init__(self, folder: Path, changed: Callable[[], None] = lambda: None) -> None:
        self.clock = SystemClock()
        self.rng = random.Random(1)  # noqa: S311 - jitter
        self.store = FakeStore(FakeEtcd(self.clock), "test")
        self.view = View(changed)
        self.key = folder / "secrets.key"
        self.key.touch(mode=0o600)
        self.key.write_bytes(b"k" * 32)

    async def put(self, key: str, record: Record) -> Revision:
        return await self.store.txn([], [Put(key, codec.encode(record))])

    async def lead(
        self, group: asyncio.TaskGroup, fetch: Fetch | None = None
    ) -> list[asyncio.Task[None]]:
        """Begin to follow the store and to issue; return what has to be cancelled."""
        token = await self.put(keys.LEADER, Leader(node=NodeName("node-1")))
        issuer = Issuer(
            self.store, self.view, self.key, clock=self.clock, rng=self.rng, fetch=fetch
        )
        watching = mirror(self.store, under(keys.ROOT), self.view, self.clock, self.rng)
        return [group.create_task(watching), group.create_task(issuer.run(Fence(token)))]

    def issued(self, name: str) -> Certificate | None:
        item = self.view.items.get(keys.issued(name))
        return codec.decode(Certificate, item.value, item.key) if item is not None else None
