"""One node's Balance, as a process in the node's namespace: a topology a line in, a status out."""

import asyncio
import sys
from pathlib import Path

import msgspec

from node_agent.balance.balance import balances
from node_agent.network.fabric import Topology
from node_agent.network.fabrics import Fabrics
from node_agent.nftables import Nftables
from shared import log
from shared.settings import EtcdSettings, Settings

POOL = "198.19.0.0/16"
POOL6 = "fd00:68::/96"


def settings(node: str, folder: Path = Path("/nowhere"), pool6: str = "") -> Settings:
    number = node.rpartition("-")[2]
    return Settings(
        node=node,
        address=f"198.18.0.{number}",
        subnet=f"198.19.{number}.0/24",
        pool=POOL,
        pool6=pool6,
        etcd=EtcdSettings(endpoints=("127.0.0.1:2379",)),
        run_dir=folder,
    )


async def serve(node: str, pool6: str) -> None:
    """Apply what comes in on standard input, until it ends."""
    log.set_up(level="info", part="balance", node=node)
    balance = Fabrics(*balances(settings(node, pool6=pool6), Nftables()))
    while line := await asyncio.to_thread(sys.stdin.buffer.readline):
        status = await balance.apply(msgspec.json.decode(line, type=Topology))
        sys.stdout.buffer.write(msgspec.json.encode(status) + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
