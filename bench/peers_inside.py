"""Runs in a network namespace of its own for bench/peers.py: prints what watching peers costs.

One node is this process; its peers are a second one, each at an address of the loopback device.
"""

import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from node_agent.peers.prober import Peers
from node_agent.peers.promise import PromiseFile
from node_agent.peers.sockets import SocketNet
from node_agent.peers.watchers import watched_by, watchers_of
from shared.clock import SystemClock
from shared.model import NodeName, NodeSpec
from shared.settings import AGENT_PEER_PORT
from shared.timing import LAN
from tests.build import node_spec

NODES: Final = 5
_SETTLE_S: Final = 2.0
_MEASURED_S: Final = 10.0


def specs() -> list[NodeSpec]:
    return [node_spec(f"node-{number}") for number in range(1, NODES + 1)]


def names() -> list[NodeName]:
    return [spec.name for spec in specs()]


def measured() -> NodeSpec:
    """Return the node whose number of peers to watch is closest to what is usual."""
    return min(specs(), key=lambda spec: abs(len(watched_by(spec.name, names())) - 3))


def peers(spec: NodeSpec, folder: Path, all_: Sequence[NodeSpec]) -> Peers:
    """Return what watches the peers of one of all nodes."""
    folder.mkdir(parents=True, exist_ok=True)
    one = Peers(
        spec.name,
        LAN,
        SocketNet(spec.address, AGENT_PEER_PORT),
        PromiseFile(folder),
        clock=SystemClock(),
        rng=random.Random(),  # noqa: S311 - a measurement
        has_session=lambda: True,
        on_change=lambda: None,
    )
    one.follow(all_)
    return one


async def measure(folder: Path) -> dict[str, float]:
    """Be one node for some seconds; return what it took."""
    me = measured()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(peers(me, folder, specs()).run())
        await asyncio.sleep(_SETTLE_S)
        began, used = time.monotonic(), _used()
        await asyncio.sleep(_MEASURED_S)
        took_s, then = time.monotonic() - began, _used()
        task.cancel()
    user, system = (100 * (b - a) / took_s for a, b in zip(used, then, strict=True))
    return {
        "percent": user + system,
        "user_percent": user,
        "system_percent": system,
        "watches": len(watched_by(me.name, names())),
        "watched_by": len(watchers_of(me.name, names())),
    }


def _used() -> tuple[float, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime, used.ru_stime


async def be_the_others(folder: Path) -> None:
    """Be all other nodes until killed."""
    async with asyncio.TaskGroup() as group:
        for spec in specs():
            if spec != measured():
                group.create_task(peers(spec, folder, specs()).run())


def main(folder: Path) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for spec in specs():
        subprocess.run(f"ip addr add {spec.address}/32 dev lo".split(), check=True)
    with subprocess.Popen([sys.executable, "-m", "bench.peers_inside", "others"]) as others:
        try:
            print(json.dumps(asyncio.run(measure(folder))))
        finally:
            others.kill()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        if sys.argv[1:] == ["others"]:
            asyncio.run(be_the_others(Path(name)))
        else:
            main(Path(name))
