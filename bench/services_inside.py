"""Runs in a network namespace of its own for bench/services.py: prints what balancing costs."""

import asyncio
import json
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from bench.load import Figures, haproxy, in_turns, machine_s, wrk
from bench.statistics import spread
from node_agent.balance.balance import balances
from node_agent.network.fabric import Fabric, Topology
from node_agent.nftables import Nftables
from shared import log
from shared.model import (
    AllocId,
    Endpoint,
    NodeName,
    Revision,
    Routes,
    ServiceName,
    ServiceRoutes,
    StackName,
)
from tests.contract.balance_node import settings
from tests.contract.balance_rig import (
    VIP,
    Box,
    Rig,
    endpoint,
    service,
)
from tests.contract.balance_traffic import (
    PORT,
)

SERVICES: Final = 500
REPLICAS: Final = 10
RUNS: Final = 20
ROUNDS: Final = 7
_BULK_BYTES: Final = 1 << 20
# Of the same server. On one port, connections that one way has just ended are in the way of the
# other's with the same client port: up to one SYN in six was lost.
_DIRECT_PORT: Final = PORT + 1


def topology(revision: int, gone: Sequence[int] = ()) -> Topology:
    """Return the routes of all services; those in `gone` are without their first replica."""
    return Topology(
        routes={
            StackName(f"s{number}"): (Revision(revision), _routes(number, int(number in gone)))
            for number in range(SERVICES)
        }
    )


@cache
def _routes(number: int, first: int) -> Routes:
    # An agent reads again only what has changed.
    return Routes(stack=StackName(f"s{number}"), services=(_service(number, first),))


def _service(number: int, first: int) -> ServiceRoutes:
    return ServiceRoutes(
        service=ServiceName("web"),
        ports=(),
        vip=f"198.18.{200 + number // 250}.{number % 250 + 1}",
        endpoints=tuple(
            Endpoint(
                allocation=AllocId(f"s{number}.web.{replica}.a"),
                node=NodeName(f"node-{replica % 3 + 1}"),
                address=f"198.19.{number // 25 + 1}.{number % 25 * REPLICAS + replica + 1}",
                slot=replica + 1,
            )
            for replica in range(first, REPLICAS)
        ),
    )


async def changes() -> dict[str, Any]:
    """Return milliseconds and CPU of what an agent does with 500 services of 10 replicas."""
    balance, *_ = balances(settings("node-1"), Nftables())
    whole = [await _timed(balance, topology(1))]
    one = [await _timed(balance, topology(2 + run, gone=[run])) for run in range(RUNS)]
    quiet = [await _timed(balance, topology(1 + RUNS, gone=[RUNS - 1])) for _ in range(RUNS)]
    every = [range(SERVICES) if run % 2 == 0 else () for run in range(6)]
    node = [await _timed(balance, topology(100 + run, gone)) for run, gone in enumerate(every)]
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "unit": "ms; cpu with nft's",
        "all of them, at the start": _spreads(whole),
        "one endpoint changes": _spreads(one),
        "an endpoint of every service changes": _spreads(node),
        "nothing changed: listed and compared": _spreads(quiet),
        "agent_rss_mb": round(usage.ru_maxrss / 1024, 1),
    }


def _spreads(found: Sequence[tuple[float, float]]) -> dict[str, Any]:
    return {
        "took_ms": spread([took for took, _ in found]),
        "cpu_ms": spread([cpu for _, cpu in found]),
    }


async def _timed(balance: Fabric, wanted: Topology) -> tuple[float, float]:
    began, used = time.perf_counter(), _cpu_s()
    status = await balance.apply(wanted)
    if status.problems:
        raise RuntimeError(status.problems[0])
    return (time.perf_counter() - began) * 1000, (_cpu_s() - used) * 1000


def _cpu_s() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


async def way(folder: Path) -> dict[str, Any]:
    """Return requests and bytes a second from a container to one of another node, both ways."""
    rig = Rig(folder)
    first, second = rig.node(1), rig.node(2)
    client, server = rig.container(first, 9), rig.container(second, 2)
    with _server(folder, server):
        async with rig.agent(first, second):
            await rig.apply(service(endpoint(server)))
            ways = {"direct": f"{server.address}:{_DIRECT_PORT}", "vip": f"{VIP}:{PORT}"}

            def rate(kind: str, way: str) -> float:
                path, header = _KINDS[kind]
                within = ("nsenter", f"--net={client.pin}")
                return wrk(f"http://{ways[way]}{path}", header, within)

            found = in_turns(ROUNDS, _KINDS, list(ways), rate=rate, cpu_s=lambda _: machine_s())
    return {
        "rounds": ROUNDS,
        "unit": "requests a second, medians of rounds in turns",
        **{kind: _compared(*of) for kind, of in found.items()},
    }


_KINDS: Final = {
    "kept connections": ("/", ()),
    "a new connection each": ("/", ("-H", "Connection: close")),
    "answers of 1 MiB": ("/bulk", ()),
}


def _compared(found: Figures, costs: Figures) -> dict[str, Any]:
    direct, vip = (statistics.median(found[name]) for name in ("direct", "vip"))
    ratios = [b / a for a, b in zip(found["direct"], found["vip"], strict=True)]
    return {
        "direct": round(direct),
        "vip": round(vip),
        "percent of direct": round(100 * vip / direct, 1),
        "percent, round by round": spread([100 * ratio for ratio in ratios], 1),
        "the machine's CPU, us a request": {
            way: round(statistics.median(of), 1) for way, of in costs.items()
        },
    }


@contextmanager
def _server(folder: Path, box: Box) -> Iterator[None]:
    """Run a server that answers from memory, in one thread."""
    bulk = folder / "bulk"
    bulk.write_bytes(b"x" * _BULK_BYTES)
    config = folder / "server.cfg"
    config.write_text(
        "global\n    nbthread 1\n    tune.bufsize 2097152\n"
        "defaults\n    mode http\n    timeout client 60s\n    timeout server 60s\n"
        f"frontend in\n    bind {box.address}:{PORT}\n    bind {box.address}:{_DIRECT_PORT}\n"
        f"    http-request return status 200 content-type a/b file {bulk} if {{ path /bulk }}\n"
        "    http-request return status 200 content-type text/plain string twenty-byte-answers\n"
    )
    with haproxy(config, PORT, ("nsenter", f"--net={box.pin}")):
        yield


def main(what: str, folder: Path) -> None:
    log.set_up(level="error", part="bench")
    print(json.dumps(asyncio.run(changes() if what == "changes" else way(folder))))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
