"""The agent whose way is measured by bench/whole: all of it is real but the containers.

A process of its own, so that what it uses is its alone.
"""

import asyncio
import random
import sys
from collections.abc import Iterable
from pathlib import Path

from bench.whole_cluster import POOL, VIPS, address, manifest, node_name, subnet
from node_agent.agent import Agent
from node_agent.balance.balance import balances
from node_agent.gateway.haproxy import HaproxyGateway
from node_agent.journal import Journal
from node_agent.names.keeper import NamesKeeper
from node_agent.network.fabrics import Fabrics
from node_agent.network.node import NodeNetwork
from node_agent.nftables import Nftables
from node_agent.outside import Outside
from node_agent.peers.promise import PromiseFile
from node_agent.peers.sockets import SocketNet
from shared import log
from shared.clock import SystemClock
from shared.etcd.store import EtcdStore
from shared.process import settle_memory
from shared.settings import AGENT_PEER_PORT, EtcdSettings, Settings
from shared.subnets import gateway_of
from tests.fakes.addresses import FakeAddresses
from tests.fakes.runtime import FakeRuntime, Timings

_AT_ONCE = Timings(pull_s=0.0, create_s=0.0, start_s=0.0, remove_s=0.0)


def settings(number: int, folder: Path, endpoint: str) -> Settings:
    """Return those of a node."""
    return Settings(
        node=node_name(number),
        address=address(number),
        subnet=subnet(number),
        pool=POOL,
        vips=VIPS,
        etcd=EtcdSettings(endpoints=(endpoint,)),
        run_dir=folder / "run",
        data_dir=folder / "data",
    )


async def serve(number: int, own: Settings) -> None:
    """Run the agent of a node until it is killed."""
    own.data_dir.mkdir(parents=True)
    clock, nft = SystemClock(), Nftables()
    network = NodeNetwork(own, nft)
    await network.set_up()
    runtime = FakeRuntime(clock, timings=_AT_ONCE)
    for each in manifest(number, 1).assignments:
        await runtime.pull(each.workload.image)
        await runtime.create(each)
        await runtime.start(each.id)
    outside = Outside(
        runtime=runtime,
        gateway=HaproxyGateway(own.run_dir, own.gateway),
        fabric=Fabrics(network, *balances(own, nft)),
        answers=_answers,
        journal=Journal(own.data_dir),
        net=SocketNet(own.address, AGENT_PEER_PORT),
        promise=PromiseFile(own.run_dir),
        addresses=FakeAddresses(clock),
        names=NamesKeeper(gateway_of(own.subnet), own.run_dir),
    )
    rng = random.Random()  # noqa: S311 - jitter needs no secrecy
    async with EtcdStore.of_host(own) as store:
        await Agent(store, outside, own, clock=clock, rng=rng).run()


async def _answers(address_: str, ports: Iterable[int], within_s: float) -> bool:
    del address_, ports, within_s
    return True


if __name__ == "__main__":
    log.set_up(level="warning", part="bench")
    settle_memory()
    which = int(sys.argv[1])
    asyncio.run(serve(which, settings(which, Path(sys.argv[2]), sys.argv[3])))
