"""What watching one's peers costs a node: measured among 5 nodes, computed for 1,000."""

from collections import Counter
from typing import Any

from bench.apart import apart
from bench.statistics import spread
from node_agent.peers.watchers import watchers_of
from shared.model import NodeName

RUNS = 5
LARGE = 1000


async def run() -> dict[str, Any]:
    """Return percent of a core, kernel's share included."""
    found = [await _measured() for _ in range(RUNS)]
    # To watch and to be watched are equally many packets, of the same kinds but for one.
    pairs = found[0]["watches"] + found[0]["watched_by"]
    per_pair = sorted(one["percent"] for one in found)[RUNS // 2] / pairs
    watches = _watches(LARGE)
    return {
        "runs": RUNS,
        "unit": "percent of a core",
        "figures": {
            "5 nodes, measured": {
                "watches": found[0]["watches"],
                "watched by": found[0]["watched_by"],
                "all": spread([one["percent"] for one in found], 3),
                "user": spread([one["user_percent"] for one in found], 3),
                "kernel": spread([one["system_percent"] for one in found], 3),
            },
            f"{LARGE} nodes, computed": {
                "watches": spread(watches),
                "all": spread([per_pair * (count + 3) for count in watches], 3),
            },
        },
    }


async def _measured() -> dict[str, float]:
    found: dict[str, float] = await apart("peers_inside")
    return found


def _watches(count: int) -> list[int]:
    """Return how many peers each of so many nodes watches."""
    nodes = [NodeName(f"node-{number}") for number in range(1, count + 1)]
    load = Counter(peer for node in nodes for peer in watchers_of(node, nodes))
    return [load[node] for node in nodes]
