"""Runs in a network namespace for bench/names.py: a name server that knows 5,000 replicas."""

import asyncio
import json
import os
import random
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from node_agent.names.keeper import NamesKeeper
from node_agent.names.snapshot import SOCKET, Snapshot
from shared.model import Routes
from tests.build_names import OWN, local, question, replica, routes, service, snapshot

# So many that none reaches what one container may ask in a second.
ASKERS = [f"198.19.1.{number}" for number in range(2, 22)]
STACKS, SERVICES, REPLICAS = 50, 10, 10
QUESTIONS, AT_ONCE = 4000, 32
CHANGES = 20


def cluster(change: int = 0) -> Snapshot:
    """Return 500 services: v0 of each stack without a virtual address, all others with one."""
    stacks = [_stack(number, change) for number in range(STACKS)]
    return snapshot(*stacks, containers=[local(one, "s0_default", stack="s0") for one in ASKERS])


def _stack(number: int, change: int) -> Routes:
    name, services = f"s{number}", []
    for each in range(SERVICES):
        address = f"198.19.{number + 2}.{each * 20}"
        ready = [
            replica(f"{name}.v{each}.{slot}.x", _shifted(address, slot))
            for slot in range(1, REPLICAS + 1)
        ]
        vip = f"198.18.{number}.{each + 1}" if each else ""
        services.append(service(f"v{each}", *ready, on=(f"{name}_default",), vip=vip))
    if number == 0:
        changing = replica("s0.changing.1.x", f"198.19.200.{change + 1}")
        services.append(service("changing", changing, on=("s0_default",)))
    return routes(name, *services)


def _shifted(address: str, by: int) -> str:
    head, _, last = address.rpartition(".")
    return f"{head}.{int(last) + by}"


def main() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in (OWN, *ASKERS):
        subprocess.run(["ip", "addr", "add", f"{address}/32", "dev", "lo"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(measured(Path(folder)))))


async def measured(folder: Path) -> dict[str, Any]:
    keeper = NamesKeeper(OWN, folder)
    await keeper.apply(cluster())
    pid = _pid(folder)
    with ExitStack() as stack:
        clients = [stack.enter_context(_client(one)) for one in ASKERS]
        rng = random.Random(1)  # noqa: S311 - a benchmark's
        kinds: dict[str, Callable[[], bytes]] = {
            "virtual address": lambda: question("v1", payload=1232),
            "10 replicas": lambda: question("v0", payload=1232),
            "spelt anew each time": lambda: question(_spelt("v1.s0.hafen.internal", rng)),
            "no such name": lambda: question("nosuch"),
        }
        one_by_one = {name: _latency(clients, pid, ask) for name, ask in kinds.items()}
        at_once = {name: _rate(clients, pid, ask) for name, ask in kinds.items()}
        changes = [
            await _change(clients[0], keeper, pid, number) for number in range(1, CHANGES + 1)
        ]
    return {
        "runs": QUESTIONS,
        "unit": "us; answers/s",
        "figures": {
            "one by one": one_by_one,
            f"{AT_ONCE} at once": at_once,
            "one change among 5,000 replicas, until it is answered": {
                "ms": _spread([each for each, _ in changes]),
                "cpu ms of both": _spread([each for _, each in changes]),
            },
            "resident MB": round(_rss_bytes(pid) / 1e6, 1),
        },
    }


def _pid(folder: Path) -> int:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.connect(str(folder / "names" / SOCKET))
        peer = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    found: int = struct.unpack("3i", peer)[0]
    return found


def _client(address: str) -> socket.socket:
    found = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    found.bind((address, 0))
    found.settimeout(5)
    found.connect((OWN, 53))
    return found


def _spelt(name: str, rng: random.Random) -> str:
    return "".join(rng.choice((each.upper(), each)) for each in name)


def _latency(clients: list[socket.socket], pid: int, ask: Callable[[], bytes]) -> dict[str, float]:
    asked = [ask() for _ in range(QUESTIONS)]
    taken = []
    before_s = _cpu_s(pid)
    for wire, client in zip(asked, cycle(clients), strict=False):
        began = time.perf_counter()
        client.send(wire)
        client.recv(2000)
        taken.append((time.perf_counter() - began) * 1e6)
    return {**_spread(taken), "cpu": round((_cpu_s(pid) - before_s) / len(taken) * 1e6, 1)}


def _rate(clients: list[socket.socket], pid: int, ask: Callable[[], bytes]) -> dict[str, float]:
    asked = [ask() for _ in range(AT_ONCE)]
    before_s, began, answered = _cpu_s(pid), time.perf_counter(), 0
    for client in islice(cycle(clients), QUESTIONS // AT_ONCE):
        for wire in asked:
            client.send(wire)
        for _ in asked:
            client.recv(2000)
        answered += len(asked)
    took_s = time.perf_counter() - began
    cpu_s = _cpu_s(pid) - before_s
    return {"answers/s": round(answered / took_s), "cpu": round(cpu_s / answered * 1e6, 1)}


async def _change(
    client: socket.socket, keeper: NamesKeeper, pid: int, number: int
) -> tuple[float, float]:
    wanted = bytes((198, 19, 200, number + 1))
    after = cluster(number)
    began, before_s = time.perf_counter(), time.process_time() + _cpu_s(pid)
    await keeper.apply(after)
    client.send(question("changing"))
    assert client.recv(2000).endswith(wanted)
    cpu_s = time.process_time() + _cpu_s(pid) - before_s
    return (time.perf_counter() - began) * 1000, cpu_s * 1000


def _spread(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), 1),
        "p99": round(ordered[int(len(ordered) * 0.99)], 1),
        "max": round(ordered[-1], 1),
    }


def _cpu_s(pid: int) -> float:
    stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


def _rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
