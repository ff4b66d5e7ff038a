"""The whole way of one change to nodes, from etcd until everything there is in force."""

import tempfile
from typing import Any, Final

from bench.apart import apart
from bench.whole_cluster import NODES

# With one, the others do the same at the same time on machines of their own; with all of them, all
# share the cores of this one.
_AGENTS: Final = (1, NODES)


async def run() -> dict[str, Any]:
    """Return how long changes take among 500 services of 10 replicas, and what an agent costs."""
    alone = ("--pid", "--fork", "--kill-child", "--mount-proc")
    figures = {}
    for agents in _AGENTS:
        with tempfile.TemporaryDirectory() as folder:
            words = ("whole_inside", folder, str(agents))
            figures[f"agents: {agents}"] = await apart(*words, isolation=alone)
    return {"runs": 20, "unit": "ms", "figures": figures}
