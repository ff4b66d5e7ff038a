"""The agent's composition root in production: real etcd, crun, HAProxy and kernel."""

import asyncio
import random
from pathlib import Path

from node_agent.agent import Agent
from node_agent.balance.balance import balances
from node_agent.figures import together
from node_agent.floating.kernel import KernelAddresses
from node_agent.gateway.haproxy import HaproxyGateway
from node_agent.image_sweeper import ImageSweeper
from node_agent.images import AgentImages
from node_agent.journal import Journal
from node_agent.names.keeper import NamesKeeper
from node_agent.network.fabrics import Fabrics
from node_agent.network.node import NodeNetwork
from node_agent.nftables import Nftables
from node_agent.oci.runtime import OciRuntime, Options
from node_agent.outside import Outside
from node_agent.peers.promise import PromiseFile
from node_agent.peers.sockets import SocketNet
from node_agent.probe import answers
from node_agent.probes import AgentProbes
from node_agent.streams import AgentStreams
from shared.clock import Clock
from shared.etcd.store import EtcdStore
from shared.settings import AGENT_PEER_PORT, load
from shared.subnets import gateway_of


async def serve(config: Path, clock: Clock) -> None:
    """Run this host's agent until cancelled.

    Raises:
        SettingsError: the configuration is wrong, or this host's name or subnet is another's.
        HostError: a program, a right or a port is missing.
    """
    settings = load(config)
    nft = Nftables()
    network = NodeNetwork(settings, nft)
    here = gateway_of(settings.subnet)
    options = Options(address=settings.address, devices=settings.devices, nameservers=(here,))
    runtime = OciRuntime(settings.data_dir, settings.run_dir, network, clock, options)
    await network.set_up()
    gateway = HaproxyGateway(settings.run_dir, settings.gateway)
    names = NamesKeeper(here, settings.run_dir)
    outside = Outside(
        runtime=runtime,
        gateway=gateway,
        fabric=Fabrics(network, *balances(settings, nft)),
        answers=answers,
        journal=Journal(settings.data_dir),
        net=SocketNet(settings.address, AGENT_PEER_PORT),
        promise=PromiseFile(settings.run_dir),
        addresses=KernelAddresses(settings.address, clock),
        names=names,
    )
    rng = random.Random()  # noqa: S311 - jitter needs no secrecy
    async with EtcdStore.of_host(settings) as store, asyncio.TaskGroup() as group:
        agent = Agent(store, outside, settings, clock=clock, rng=rng)
        group.create_task(agent.run())
        sweeper = ImageSweeper(store, runtime.image_digests, settings, clock)
        group.create_task(sweeper.run())
        images, probes = AgentImages(runtime.images, settings), AgentProbes(network.find, settings)
        figures = together(gateway.metrics, names.metrics)
        access = gateway.access_log(clock)
        streams = AgentStreams(runtime, images, settings, probes, figures, access)
        group.create_task(streams.serve())
