"""Nodes for bench/whole: an agent in a network namespace each, all on one wire."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from bench import whole_cluster as cluster
from bench.whole_eyes import TABLES, Kernel, gateway_leads_to, names_lead_to, resolver, when
from node_agent.network import namespaces
from shared import codec, keys
from shared.model import Health, Report, Resources, Revision
from shared.store import Store, exactly
from shared.subnets import gateway_of
from tests.build_names import question

_WIRE: Final = "wire"
# An agent that starts has everything in force well within this, also on a busy machine.
_BEGIN_S: Final = 120.0
CHANGE_S: Final = 20.0


class Reports:
    """What a node has reported last, and when that arrived."""

    def __init__(self, store: Store, number: int) -> None:
        self._store, self._news = store, asyncio.Condition()
        self._node = cluster.node_name(number)
        self._last, self._at_s = Report(node=self._node, capacity=Resources()), 0.0

    async def follow(self) -> None:
        """Read reports for ever."""
        key = keys.observed(self._node)
        after = (await self._store.list(exactly(key))).revision
        async with aclosing(self._store.watch(exactly(key), after=after)) as batches:
            async for batch in batches:
                at_s = time.perf_counter()
                for change in batch.changes:
                    if change.now is not None:
                        self._last = codec.decode(Report, change.now.value, key)
                        self._at_s = at_s
                async with self._news:
                    self._news.notify_all()

    async def when(self, holds: Callable[[Report], bool], within_s: float) -> float:
        """Return when a report arrived of which something holds."""
        async with asyncio.timeout(within_s), self._news:
            await self._news.wait_for(lambda: holds(self._last))
            return self._at_s

    @property
    def problems(self) -> tuple[str, ...]:
        """Return what the node complains of."""
        return self._last.problems


class Node:
    """One node whose agent is real, looked at from outside. All moments are the event loop's."""

    def __init__(self, number: int, folder: Path) -> None:
        self.number, self._folder = number, folder / f"node-{number}"
        self._pin = self._folder / "net"
        self._server = gateway_of(cluster.subnet(number))
        self._names: socket.socket | None = None

    @contextmanager
    def plugged_in(self) -> Iterator[None]:
        """Have its namespace and the wire to it, as long as the block."""
        run = self._folder / "run"
        run.mkdir(parents=True)
        # As /run is; it goes with the mounts' namespace.
        subprocess.run(["mount", "-t", "tmpfs", "run", str(run)], check=True)
        namespaces.make(self._pin)
        port = f"to{self.number}"
        ip(f"link add {port} master {_WIRE} type veth peer name uplink")
        with self._pin.open() as there:
            target = f"/proc/{os.getpid()}/fd/{there.fileno()}"
            ip(f"link set uplink netns {target}")
        ip(f"link set {port} up")
        for words in (
            "link set lo up",
            f"addr add {cluster.address(self.number)}/24 dev uplink",
            "link set uplink up",
        ):
            ip(words, self._inside)
        self._kernel = namespaces.enter(self._pin, Kernel)
        self._kernel.begin()
        try:
            yield
        finally:
            if self._names:
                self._names.close()
            self._kernel.end()
            namespaces.remove(self._pin)

    @asynccontextmanager
    async def agent(self, store: Store, endpoint: str) -> AsyncIterator[None]:
        """Run its agent as long as the block."""
        self.reports = Reports(store, self.number)
        words = (str(self.number), str(self._folder), endpoint)
        process = await asyncio.create_subprocess_exec(
            *(*self._inside, sys.executable, "-m", "bench.whole_agent", *words)
        )
        try:
            async with asyncio.TaskGroup() as group:
                following = group.create_task(self.reports.follow())
                yield
                following.cancel()
        finally:
            process.kill()
            await process.wait()

    async def begun(self) -> None:
        """Return when all of the cluster is in force.

        Raises:
            RuntimeError: the node complains.
        """
        await self.reports.when(_is_whole, _BEGIN_S)
        if self.reports.problems:
            raise RuntimeError(self.reports.problems[0])
        self._names = namespaces.enter(self._pin, partial(resolver, self._server))

    async def leads_to(self, stack: int, service: int, address: str) -> dict[str, float]:
        """Return when a new replica's address is in force here, by part."""
        name = f"{cluster.service_name(service)}.{cluster.stack_name(stack)}"
        assert self._names is not None, "it has begun"
        asked = question(f"tasks.{name}.hafen.internal", payload=4096)
        admin, backend = self._folder / "run/haproxy/admin.sock", cluster.backend(stack, service)
        looks = {
            "gateway": partial(gateway_leads_to, admin, backend, address),
            "names": partial(names_lead_to, self._names, asked, address),
        }
        async with asyncio.TaskGroup() as group:
            seen = {part: group.create_task(when(look, CHANGE_S)) for part, look in looks.items()}
        return {part: task.result() for part, task in seen.items()}

    async def acked(self, stack: int, revision: Revision) -> float:
        """Return when it was reported that a stack's routes are in force here."""
        name = cluster.stack_name(stack)
        return await self.reports.when(
            lambda report: report.acked.get(name, Revision(0)) >= revision, CHANGE_S
        )

    def changed(self, stack: int, service: int, address: str) -> dict[str, float]:
        """Return when the kernel's tables were changed last, which have a replica's address now.

        Raises:
            RuntimeError: they do not have it.
        """
        chain = f"vip.{cluster.stack_name(stack)}.{cluster.service_name(service)}"
        listed = (*self._inside, "nft", "list", "chain", "ip", TABLES["map"], chain)
        if address not in subprocess.check_output(listed, text=True):
            raise RuntimeError(f"{address} is not in {chain}")
        return {part: self._kernel.changed_s[table] for part, table in TABLES.items()}

    @property
    def _inside(self) -> tuple[str, ...]:
        return ("nsenter", f"--net={self._pin}")


@contextmanager
def on_one_wire(nodes: Sequence[Node]) -> Iterator[None]:
    """Have a wire with nodes at it, and the store's address; the other nodes answer at it, too."""
    ip("link set lo up")
    ip(f"link add {_WIRE} type bridge")
    others = [each.address for each in cluster.specs()[len(nodes) :]]
    for address in (cluster.STORE, *others):
        ip(f"addr add {address}/24 dev {_WIRE}")
    ip(f"link set {_WIRE} up")
    with ExitStack() as stack:
        for node in nodes:
            stack.enter_context(node.plugged_in())
        yield


def ip(words: str, inside: Sequence[str] = ()) -> None:
    """Run `ip`, elsewhere if a program is named that does so."""
    subprocess.run([*inside, "ip", *words.split()], check=True)


def _is_whole(report: Report) -> bool:
    return len(report.acked) == cluster.STACKS and all(
        each.health is Health.HEALTHY for each in report.allocations
    )
