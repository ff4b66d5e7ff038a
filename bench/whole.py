"""The whole way of one change to a node, from etcd until everything there is in force."""

import tempfile
from typing import Any

from bench.apart import apart


async def run() -> dict[str, Any]:
    """Return how long changes take among 500 services of 10 replicas, and what the agent costs.

    One node is measured: the others do the same at the same time on machines of their own.
    """
    alone = ("--pid", "--fork", "--kill-child", "--mount-proc")
    with tempfile.TemporaryDirectory() as folder:
        return await apart("whole_inside", folder, isolation=alone)
