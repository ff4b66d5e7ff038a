"""Runs in namespaces of its own for bench/whole.py: prints how long changes take to be in force.

Three processes: etcd, one node's agent as in production but for its containers, and this one, which
writes as the leader does and looks from outside when what came of it is there.
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench import whole_cluster as cluster
from bench.peers_inside import peers
from bench.statistics import spread
from bench.whole_eyes import TABLES, Kernel, gateway_leads_to, names_lead_to, when
from node_agent.network import namespaces
from shared import codec, keys, log
from shared.etcd.store import EtcdStore
from shared.model import AllocId, Health, Report, Resources, Revision
from shared.store import Put, Store, exactly
from shared.subnets import gateway_of
from tests.build_names import question
from tests.contract.etcd_server import running_etcd

RUNS: Final = 20
REST_S: Final = 30.0
# An agent that starts has everything in force well within this, also on a busy machine.
_BEGIN_S: Final = 120.0
_CHANGE_S: Final = 20.0
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


class Reports:
    """What the node has reported last, and when that arrived."""

    def __init__(self, store: Store) -> None:
        self._store, self._news = store, asyncio.Condition()
        self._last, self._at_s = Report(node=cluster.HERE, capacity=Resources()), 0.0

    async def follow(self) -> None:
        """Read reports for ever."""
        key = keys.observed(cluster.HERE)
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


class Bench:
    """One node, looked at from outside."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.store, self.reports, self.kernel = store, Reports(store), Kernel()
        self._admin, self._server = folder / "run/haproxy/admin.sock", gateway_of(cluster.subnet(1))

    async def begin(self) -> None:
        """Return when all of the cluster is in force on the node."""
        await self.reports.when(
            lambda report: (
                len(report.acked) == cluster.STACKS
                and all(each.health is Health.HEALTHY for each in report.allocations)
            ),
            _BEGIN_S,
        )
        if self.reports.problems:
            raise RuntimeError(self.reports.problems[0])

    async def moved(self, run: int) -> dict[str, float]:
        """Let one replica take another's place; return milliseconds until that is in force."""
        stack, service = run * 7 % cluster.STACKS, run % cluster.SERVICES
        new, name = cluster.replica(stack, service, 1, run + 1), cluster.stack_name(stack)
        asked = f"tasks.{cluster.service_name(service)}.{name}.hafen.internal"
        looks = {
            "gateway": partial(
                gateway_leads_to, self._admin, cluster.backend(stack, service), new.address
            ),
            "names": partial(
                names_lead_to, self._server, question(asked, payload=4096), new.address
            ),
        }
        put = cluster.put(cluster.routes(stack, service, run + 1))
        async with asyncio.TaskGroup() as group:
            seen = {part: group.create_task(when(look, _CHANGE_S)) for part, look in looks.items()}
            began_s = time.perf_counter()
            revision = await self.store.txn([], [put])
            acked_s = await self.reports.when(
                lambda report: report.acked.get(name, Revision(0)) >= revision, _CHANGE_S
            )
        moments = {part: task.result() for part, task in seen.items()}
        moments |= {part: self.kernel.changed_s[table] for part, table in TABLES.items()}
        _check_kernel(new.address, f"vip.{name}.{cluster.service_name(service)}")
        moments["all of it"] = max(moments.values())
        moments["acknowledged, in etcd"] = acked_s
        return {part: (at_s - began_s) * 1000 for part, at_s in moments.items()}

    async def started(self, run: int) -> dict[str, float]:
        """Ask for one container more; return milliseconds until it is reported as healthy."""
        manifest = cluster.manifest(run + 2, run + 1)
        put = Put(keys.desired(cluster.HERE), codec.encode(manifest))
        new = manifest.assignments[-1].id
        began_s = time.perf_counter()
        await self.store.txn([], [put])
        at_s = await self.reports.when(partial(_is_healthy, new), _CHANGE_S)
        return {"reported healthy, in etcd": (at_s - began_s) * 1000}


def _is_healthy(id_: AllocId, report: Report) -> bool:
    return any(each.id == id_ and each.health is Health.HEALTHY for each in report.allocations)


def _check_kernel(address: str, chain: str) -> None:
    """Fail unless the kernel has what it was seen to take."""
    listed = ("nft", "list", "chain", "ip", TABLES["map"], chain)
    if address not in subprocess.check_output(listed, text=True):
        raise RuntimeError(f"{address} is not in {chain}")


async def measure(folder: Path) -> dict[str, Any]:
    """Bring everything up and return the figures."""
    with running_etcd(1) as etcd, _others(folder):
        async with EtcdStore(etcd.settings()) as store, asyncio.TaskGroup() as group:
            records = cluster.all_records()
            for first in range(0, len(records), _PUTS_AT_ONCE):
                await store.txn([], records[first : first + _PUTS_AT_ONCE])
            bench = Bench(store, folder)
            following = group.create_task(bench.reports.follow())
            bench.kernel.begin()
            began_s = time.perf_counter()
            async with _agent(folder, etcd.endpoints[0]):
                await bench.begin()
                begun_s = time.perf_counter() - began_s
                await asyncio.sleep(_SETTLE_S)
                figures = {
                    "one replica takes another's place": await _changes(bench.moved),
                    "one container more": await _changes(bench.started),
                }
                figures["at rest"] = await _rest()
            following.cancel()
            bench.kernel.end()
    return {
        "runs": RUNS,
        "unit": "ms",
        "figures": {**figures, "an agent begins, s": round(begun_s, 2)},
    }


async def _changes(change: Callable[[int], Any]) -> dict[str, Any]:
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
            part: round(sum(used) / len(used), 1) for part, used in cpu.items()
        },
    }


async def _rest() -> dict[str, Any]:
    before, began_s = _used(), time.perf_counter()
    await asyncio.sleep(REST_S)
    took_s = time.perf_counter() - began_s
    return {
        part: {
            "cpu_percent_of_a_core": round(100 * (cpu_s - before[part][0]) / took_s, 2),
            "rss_mb": round(rss / 1e6, 1),
        }
        for part, (cpu_s, rss) in _used().items()
    }


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


@asynccontextmanager
async def _agent(folder: Path, endpoint: str) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.whole_agent", str(folder), endpoint)
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


@contextmanager
def _others(folder: Path) -> Iterator[None]:
    """Be the other nodes, at the end of a wire: they answer whoever asks whether they live."""
    pin = folder / "others"
    namespaces.make(pin)
    _ip("link add uplink type veth peer name other")
    with pin.open() as there:
        subprocess.run(
            ["ip", "link", "set", "other", "netns", f"/proc/{os.getpid()}/fd/{there.fileno()}"],
            check=True,
        )
    for words in (
        "link set lo up",
        f"addr add {cluster.address(1)}/24 dev uplink",
        "link set uplink up",
    ):
        _ip(words)
    inside = ["nsenter", f"--net={pin}"]
    addresses = [f"addr add {each.address}/24 dev other" for each in cluster.specs()[1:]]
    for words in ("link set lo up", *addresses, "link set other up"):
        _ip(words, inside)
    argv = [*inside, sys.executable, "-m", "bench.whole_inside", "others", str(folder / "peers")]
    with subprocess.Popen(argv) as others:
        try:
            yield
        finally:
            others.kill()


def _ip(words: str, inside: list[str] | None = None) -> None:
    subprocess.run([*(inside or ()), "ip", *words.split()], check=True)


async def be_the_others(folder: Path) -> None:
    """Answer as the agents of the other nodes do, until killed."""
    async with asyncio.TaskGroup() as group:
        for spec in cluster.specs()[1:]:
            group.create_task(peers(spec, folder / spec.name, cluster.specs()).run())


def main(folder: Path) -> None:
    log.set_up(level="warning", part="bench")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    print(json.dumps(asyncio.run(measure(folder))))


if __name__ == "__main__":
    if sys.argv[1] == "others":
        asyncio.run(be_the_others(Path(sys.argv[2])))
    else:
        main(Path(sys.argv[1]))
