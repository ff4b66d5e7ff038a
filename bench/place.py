"""How long the leader's whole decision takes, with nothing to do and after losing a node."""

import time
from typing import Any

import msgspec

from bench.statistics import spread
from scheduler.decide import decide
from scheduler.memory import Memory
from scheduler.nodes import History
from scheduler.story import Now
from scheduler.world import World
from shared.model import Joined, NodeName, StackName
from shared.timing import LAN
from tests.build import MIB, assignment, node, running, service, stack, world

RUNS = 20
VIPS = "198.18.128.0/17"
SIZES = ((3, 4), (50, 500), (200, 2000))


async def run() -> dict[str, Any]:
    """Return milliseconds per decision, by cluster size."""
    return {
        "runs": RUNS,
        "unit": "ms per decision",
        "figures": {
            f"{nodes} nodes, {replicas} allocations": {
                "converged": _time(_converged(nodes, replicas), Memory()),
                "converged, on a network": _time(_joined(nodes, replicas), Memory()),
                "one node lost": _lost(_converged(nodes, replicas)),
            }
            for nodes, replicas in SIZES
        },
    }


def _converged(nodes: int, replicas: int) -> World:
    spec = service(replicas=replicas, memory_bytes=MIB, port=80)
    held = [assignment(f"shop.web.{slot}.a", spec.workload) for slot in range(1, replicas + 1)]
    hosts = [
        node(
            f"node-{number}",
            *held[number - 1 :: nodes],
            statuses=[running(a.id) for a in held[number - 1 :: nodes]],
        )
        for number in range(1, nodes + 1)
    ]
    return world(hosts, [stack("shop", spec)])


def _joined(nodes: int, replicas: int) -> World:
    """Return the same on a network, with a virtual address."""
    state = _converged(nodes, replicas)
    shop = state.stacks[StackName("shop")]
    spec = shop.stack.services[0]
    joined = msgspec.structs.replace(spec.workload, networks=(Joined(network="shop_default"),))
    spec = msgspec.structs.replace(spec, workload=joined)
    hosts = [
        node(
            name,
            *(msgspec.structs.replace(a, workload=joined) for a in each.assignments),
            statuses=each.report.allocations if each.report is not None else (),
        )
        for name, each in state.nodes.items()
    ]
    return world(hosts, [stack("shop", spec)])


def _lost(state: World) -> dict[str, float | int]:
    name = NodeName("node-1")
    gone = msgspec.structs.replace(state.nodes[name], alive=False)
    silent = msgspec.structs.replace(state, nodes={**state.nodes, name: gone})
    return _time(silent, Memory(nodes=History(missing_since={name: -99.0})))


def _time(state: World, memory: Memory) -> dict[str, float | int]:
    taken = []
    for _ in range(RUNS):
        began = time.perf_counter()
        decide(state, memory, Now(0.0, 0.0), LAN, vips=VIPS)
        taken.append((time.perf_counter() - began) * 1000)
    return spread(taken)
