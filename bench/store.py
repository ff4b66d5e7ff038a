"""What a call to etcd costs through our client: one member on loopback, one caller at a time."""

import time
from typing import Any

from bench.statistics import spread
from shared.etcd.store import EtcdStore
from shared.store import Put, exactly
from tests.contract.etcd_server import running_etcd

RUNS = 500


async def run() -> dict[str, Any]:
    """Return milliseconds per write and per read."""
    value = b"x" * 128
    writes, reads = [], []
    with running_etcd(1) as cluster:
        async with EtcdStore(cluster.settings()) as store:
            for _ in range(RUNS):
                began = time.perf_counter()
                await store.txn([], [Put("/bench", value)])
                writes.append((time.perf_counter() - began) * 1000)
                began = time.perf_counter()
                await store.list(exactly("/bench"))
                reads.append((time.perf_counter() - began) * 1000)
    return {"runs": RUNS, "unit": "ms", "figures": {"put": spread(writes), "get": spread(reads)}}
