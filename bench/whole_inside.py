"""Runs in namespaces of its own for bench/whole.py: prints how long changes take to be in force.

etcd, the agents of some of the nodes as in production but for their containers, one process that
answers for the other nodes, and this one, which writes as the leader does and looks from outside
when what came of it is there.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench import whole_cluster as cluster
from bench.peers_inside import peers
from bench.statistics import spread
from bench.whole_nodes import CHANGE_S, Node, on_one_wire
from shared import codec, keys, log
from shared.etcd.store import EtcdStore
from shared.model import AllocId, Health, Report
from shared.store import Put, Store
from tests.contract.etcd_server import running_etcd

RUNS: Final = 20
REST_S: Final = 30.0
# What follows an agent's beginning is over then.
_SETTLE_S: Final = 5.0
# Between two changes, so that none is measured together with what is left of the one before.
_APART_S: Final = 0.7
_PUTS_AT_ONCE: Final = 10
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_PARTS: Final = {
    "agent": "bench.whole_agent",
    "names": "node_agent.names",
    "haproxy": "haproxy",
    "etcd": "etcd",
}


class Bench:
    """Changes of a cluster, some of whose nodes are looked at."""

    def __init__(self, store: Store, nodes: Sequence[Node]) -> None:
        self._store, self._nodes = store, nodes

    async def moved(self, run: int) -> dict[str, float]:
        """Let one replica take another's place.

        Returns:
            By part, milliseconds until that is in force on the last of the nodes.
        """
        stack, service = run * 7 % cluster.STACKS, run % cluster.SERVICES
        address = cluster.replica(stack, service, 1, run + 1).address
        put = cluster.put(cluster.routes(stack, service, run + 1))
        async with asyncio.TaskGroup() as group:
            seen = [
                group.create_task(node.leads_to(stack, service, address)) for node in self._nodes
            ]
            began_s = time.perf_counter()
            revision = await self._store.txn([], [put])
            acked = [group.create_task(node.acked(stack, revision)) for node in self._nodes]
        moments = {}
        for part in ("gateway", "names"):
            moments[part] = max(task.result()[part] for task in seen)
        changed = [node.changed(stack, service, address) for node in self._nodes]
        moments |= {part: max(one[part] for one in changed) for part in changed[0]}
        moments["all of it"] = max(moments.values())
        moments["acknowledged, in etcd"] = max(task.result() for task in acked)
        return {part: (at_s - began_s) * 1000 for part, at_s in moments.items()}

    async def started(self, run: int) -> dict[str, float]:
        """Ask for one container more on each; return milliseconds until all are healthy."""
        asked = [cluster.manifest(node.number, run + 2, run + 1) for node in self._nodes]
        puts = [Put(keys.desired(each.node), codec.encode(each)) for each in asked]
        began_s = time.perf_counter()
        await self._store.txn([], puts)
        moments = [
            await node.reports.when(partial(_is_healthy, each.assignments[-1].id), CHANGE_S)
            for node, each in zip(self._nodes, asked, strict=True)
        ]
        return {"reported healthy, in etcd": (max(moments) - began_s) * 1000}


def _is_healthy(id_: AllocId, report: Report) -> bool:
    return any(each.id == id_ and each.health is Health.HEALTHY for each in report.allocations)


async def measure(folder: Path, real: int) -> dict[str, Any]:
    """Bring everything up and return the figures; CPU and memory are those of one node."""
    nodes = [Node(number, folder) for number in range(1, real + 1)]
    with (
        on_one_wire(nodes),
        running_etcd(1, host=cluster.STORE) as etcd,
        _others(folder, real),
    ):
        async with EtcdStore(etcd.settings()) as store, AsyncExitStack() as stack:
            records = cluster.all_records(real)
            for first in range(0, len(records), _PUTS_AT_ONCE):
                await store.txn([], records[first : first + _PUTS_AT_ONCE])
            began_s = time.perf_counter()
            for node in nodes:
                await stack.enter_async_context(node.agent(store, etcd.endpoints[0]))
            for node in nodes:
                await node.begun()
            begun_s = time.perf_counter() - began_s
            await asyncio.sleep(_SETTLE_S)
            bench = Bench(store, nodes)
            figures = {
                "one replica takes another's place": await _changes(bench.moved, real),
                "one container more on each": await _changes(bench.started, real),
                "at rest": await _rest(real),
            }
    return {**figures, "agents begin, s": round(begun_s, 2)}


async def _changes(
    change: Callable[[int], Awaitable[dict[str, float]]], nodes: int
) -> dict[str, Any]:
    found: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    for run in range(RUNS):
        before = _used()
        for part, took_ms in (await change(run)).items():
            found.setdefault(part, []).append(took_ms)
        await asyncio.sleep(_APART_S)
        for part, (cpu_s, _) in _used().items():
            cpu.setdefault(part, []).append((cpu_s - before[part][0]) * 1000)
    return {
        **{part: spread(took) for part, took in found.items()},
        f"cpu ms of each, {_APART_S:g} s of rest with it": {
            part: round(sum(used) / len(used) / _among(part, nodes), 1)
            for part, used in cpu.items()
        },
    }


async def _rest(nodes: int) -> dict[str, Any]:
    before, began_s = _used(), time.perf_counter()
    await asyncio.sleep(REST_S)
    took_s = time.perf_counter() - began_s
    return {
        part: {
            "cpu_percent_of_a_core": round(
                100 * (cpu_s - before[part][0]) / took_s / _among(part, nodes), 2
            ),
            "rss_mb": round(rss / 1e6 / _among(part, nodes), 1),
        }
        for part, (cpu_s, rss) in _used().items()
    }


def _among(part: str, nodes: int) -> int:
    return 1 if part == "etcd" else nodes


def _used() -> dict[str, tuple[float, int]]:
    """Return CPU seconds of each part, with its children that have ended, and its memory."""
    found: dict[str, tuple[float, int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            stat = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # It has ended meanwhile.
        for part, mark in _PARTS.items():
            if mark in words.partition("--")[0]:
                cpu_s, rss = found.get(part, (0.0, 0))
                cpu_s += sum(map(int, stat[11:15])) / _TICKS
                found[part] = cpu_s, rss + int(stat[21]) * _PAGE
                break
    return found


@contextmanager
def _others(folder: Path, real: int) -> Iterator[None]:
    """Be the nodes that have no agent: they answer whoever asks whether they live."""
    if real == cluster.NODES:
        yield
        return
    argv = [sys.executable, "-m", "bench.whole_inside", "others", str(folder / "peers"), str(real)]
    with subprocess.Popen(argv) as others:
        try:
            yield
        finally:
            others.kill()


async def be_the_others(folder: Path, real: int) -> None:
    """Answer as the agents of the nodes after the first `real` ones do, until killed."""
    async with asyncio.TaskGroup() as group:
        for spec in cluster.specs()[real:]:
            group.create_task(peers(spec, folder / spec.name, cluster.specs()).run())


def main(folder: Path, real: int) -> None:
    log.set_up(level="warning", part="bench")
    print(json.dumps(asyncio.run(measure(folder, real))))


if __name__ == "__main__":
    if sys.argv[1] == "others":
        asyncio.run(be_the_others(Path(sys.argv[2]), int(sys.argv[3])))
    else:
        main(Path(sys.argv[1]), int(sys.argv[2]))
