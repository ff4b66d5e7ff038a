"""Runs inside a virtual host for bench/start.py; prints JSON."""

import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import TypeVar

from deploy.client import ApiClient
from node_agent.network import namespaces
from shared import codec, keys
from shared.api import StackUpload
from shared.etcd.store import EtcdStore
from shared.model import (
    AllocationStatus,
    Joined,
    Manifest,
    Network,
    NodeName,
    Protocol,
    PublishedPort,
    Record,
    Report,
    ServiceName,
    ServiceSpec,
    StackName,
    Workload,
)
from shared.settings import DEFAULT_PATH, load
from shared.store import Store, exactly

R = TypeVar("R", bound=Record)

STACK = StackName("bench")
# As from a Compose file, whose services are on a network.
NETWORK = Network(name="bench_default")
SPEC = ServiceSpec(
    name=ServiceName("web"),
    workload=Workload(
        image="hafen.local/whoami:1",
        networks=(Joined(network=NETWORK.name),),
        stop_grace_period_s=1.0,
        ports=(PublishedPort(published=8080, target=80, protocol=Protocol.HTTP),),
    ),
)
_DEADLINE_S = 30.0


def answers(address: str) -> bool:
    """Say whether an HTTP request to port 80 of `address` is answered."""
    try:
        with socket.create_connection((address, 80), timeout=0.02) as talk:
            talk.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return talk.recv(12).startswith(b"HTTP/1")
    except OSError:
        return False


def until_answers(address: str) -> None:
    end_s = time.perf_counter() + _DEADLINE_S
    while not answers(address):
        if time.perf_counter() > end_s:
            raise TimeoutError(f"{address} does not answer")
        time.sleep(0.0005)


class Watcher:
    """Sees manifests and reports as the agent and the leader do."""

    def __init__(self, store: Store, node: NodeName) -> None:
        self.asked: asyncio.Queue[tuple[float, bool]] = asyncio.Queue()
        self.seen: asyncio.Queue[tuple[float, tuple[AllocationStatus, ...]]] = asyncio.Queue()
        self._store, self._node = store, node

    async def manifests(self) -> None:
        async for manifest in self._written(keys.desired(self._node), Manifest):
            await self.asked.put((time.perf_counter(), bool(manifest.assignments)))

    async def reports(self) -> None:
        async for report in self._written(keys.observed(self._node), Report):
            await self.seen.put((time.perf_counter(), report.allocations))

    async def _written(self, key: str, kind: type[R]) -> AsyncIterator[R]:
        after = (await self._store.list(exactly(key))).revision
        async with aclosing(self._store.watch(exactly(key), after=after)) as batches:
            async for batch in batches:
                for change in batch.changes:
                    if change.now is not None:
                        yield codec.decode(kind, change.now.value, key)

    async def next_manifest(self) -> float:
        while True:
            at, has_work = await self.asked.get()
            if has_work:
                return at

    async def next_running(self) -> tuple[float, str]:
        while True:
            at, statuses = await self.seen.get()
            for status in statuses:
                if status.state == "running" and status.address:
                    return at, status.address

    async def until_empty(self) -> None:
        while True:
            _, statuses = await self.seen.get()
            if not statuses:
                return


async def one_start(api: ApiClient, watcher: Watcher) -> tuple[float, float]:
    """Deploy, wait for the answer; return ms until it and until the report."""
    await api.deploy(STACK, StackUpload(services=(SPEC,), networks=(NETWORK,)))
    began = await watcher.next_manifest()
    reported, address = await watcher.next_running()
    await asyncio.to_thread(until_answers, address)
    return (time.perf_counter() - began) * 1000, (reported - began) * 1000


async def remove(api: ApiClient, watcher: Watcher) -> None:
    accepted = await api.remove(STACK)
    async with aclosing(api.progress(STACK, accepted.revision)) as steps:
        async for _ in steps:
            pass
    while not watcher.asked.empty():
        watcher.asked.get_nowait()
    while not watcher.seen.empty():
        watcher.seen.get_nowait()


def crun_run(bundle: Path, name: str) -> float:
    """Return ms of `crun run` on a copy of the bundle, in a network namespace of its own."""
    with tempfile.TemporaryDirectory() as folder:
        pin = Path(folder) / "netns"
        namespaces.make(pin)
        namespaces.enter(pin, lambda: subprocess.run(["ip", "link", "set", "lo", "up"], check=True))
        config = json.loads((bundle / "config.json").read_text())
        for namespace in config["linux"]["namespaces"]:
            if namespace["type"] == "network":
                namespace["path"] = str(pin)
        config["linux"]["cgroupsPath"] = f"/{name}"
        config["root"]["path"] = str(bundle / config["root"]["path"])
        copy = Path(folder) / "bundle"
        copy.mkdir()
        (copy / "config.json").write_text(json.dumps(config))
        try:
            began = time.perf_counter()
            subprocess.run(
                ["crun", "run", "--detach", "--bundle", str(copy), name],
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            namespaces.enter(pin, lambda: until_answers("127.0.0.1"))
            return (time.perf_counter() - began) * 1000
        finally:
            subprocess.run(["crun", "delete", "--force", name], check=True)
            namespaces.remove(pin)


async def main(runs: int) -> None:
    settings = load(DEFAULT_PATH)
    taken: dict[str, list[float]] = {"hafen": [], "reported": [], "crun": []}
    async with (
        EtcdStore.of_host(settings) as store,
        ApiClient.unix(settings.run_dir / "api.sock") as api,
        asyncio.TaskGroup() as group,
    ):
        watcher = Watcher(store, NodeName(settings.node))
        tasks = [group.create_task(watcher.manifests()), group.create_task(watcher.reports())]
        await asyncio.sleep(0.5)
        for number in range(runs):
            answered, reported = await one_start(api, watcher)
            taken["hafen"].append(answered)
            taken["reported"].append(reported)
            (bundle,) = (settings.run_dir / "containers").iterdir()
            taken["crun"].append(await asyncio.to_thread(crun_run, bundle, f"bench{number}"))
            await remove(api, watcher)
        for task in tasks:
            task.cancel()
    print(json.dumps(taken))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
