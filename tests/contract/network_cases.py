"""What test_network.py runs, one case a process: it must own its network namespace."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

import pytest
from pyroute2 import IPRoute

from node_agent.network import namespaces
from node_agent.network.fabric import Topology
from node_agent.network.network import Attachment
from node_agent.network.node import NodeNetwork
from node_agent.network.plan import BRIDGE
from node_agent.nftables import Nftables
from shared.errors import RuntimeFailureError
from shared.model import AllocId
from shared.settings import EtcdSettings, Settings
from tests.build import node_spec

T = TypeVar("T")

A, B = AllocId("shop.web.1.a"), AllocId("shop.web.2.a")


def topology(*nodes: str) -> Topology:
    return Topology(nodes=tuple(node_spec(node) for node in nodes))


def network(folder: Path, subnet: str = "198.19.1.0/24") -> NodeNetwork:
    return NodeNetwork(
        Settings(
            node="node-1",
            address="198.18.0.1",
            subnet=subnet,
            pool="198.19.0.0/16",
            etcd=EtcdSettings(endpoints=("127.0.0.1:2379",)),
            run_dir=folder,
        ),
        Nftables(),
    )


def kernel(work: Callable[[IPRoute], T]) -> T:
    """Return what `work` returns; pyroute2's blocking socket wants a thread without a loop."""

    def inside() -> T:
        with IPRoute() as ip:
            return work(ip)

    return namespaces.in_a_thread(inside)


def links() -> set[str]:
    return kernel(lambda ip: {link.get_attr("IFLA_IFNAME") for link in ip.get_links()})


def reaches(attachment: Attachment, address: str) -> bool:
    """Say whether a packet from inside the container's namespace is answered."""
    argv = ["busybox", "ping", "-c", "1", "-W", "10", address]

    def ping() -> int:
        return subprocess.run(argv, capture_output=True, check=False).returncode

    return namespaces.enter(Path(attachment.namespace), ping) == 0


async def containers_reach_the_node_and_each_other(folder: Path) -> None:
    net = network(folder)
    await net.set_up()
    first, second = await net.attach(A), await net.attach(B)
    assert (first.address, second.address) == ("198.19.1.2", "198.19.1.3")
    await net.admit(A)
    await net.admit(B)
    assert reaches(first, "198.19.1.1")
    assert reaches(first, second.address)


async def everything_done_twice_is_done_once(folder: Path) -> None:
    net = network(folder)
    await net.set_up()
    await net.set_up()
    first = await net.attach(A)
    before = links()
    assert await net.attach(A) == first
    assert await network(folder).find(A) == first
    assert links() == before
    await net.detach(A)
    await net.detach(A)
    assert await net.find(A) is None
    assert links() == {"lo", BRIDGE}


async def what_is_half_there_is_made_whole_with_the_same_address(folder: Path) -> None:
    net = network(folder)
    await net.set_up()
    await net.attach(A)
    before = await net.attach(B)
    for name in links() - {"lo", BRIDGE}:
        kernel(lambda ip, name=name: ip.link("del", index=ip.link_lookup(ifname=name)[0]))  # type: ignore[misc]
    again = network(folder)
    after = await again.attach(B)
    await again.admit(B)
    assert after == before
    assert reaches(after, "198.19.1.1")


async def a_full_subnet_is_refused_with_numbers(folder: Path) -> None:
    net = network(folder, "198.19.1.0/30")
    await net.set_up()
    await net.attach(A)
    with pytest.raises(RuntimeFailureError) as refused:
        await net.attach(B)
    assert str(refused.value) == ("no address is free on node-1: all 1 of 198.19.1.0/30 are taken")


async def a_container_that_leaves_takes_nobodys_gateway_along(folder: Path) -> None:
    net = network(folder)
    await net.set_up()
    attached = {id_: await net.attach(id_) for id_ in (AllocId(f"s.w.{n}.a") for n in range(4))}
    await net.admit(A)  # and with it all others
    assert all(reaches(one, "198.19.1.1") for one in attached.values())
    before = bridge_address()
    for id_ in sorted(attached):
        assert reaches(attached[id_], "198.19.1.1")
        await net.detach(id_)
        assert bridge_address() == before


def bridge_address() -> str:
    found: str = kernel(lambda ip: ip.get_links(ifname=BRIDGE)[0].get_attr("IFLA_ADDRESS"))
    return found


async def routes_follow_the_nodes_and_leave_others_alone(folder: Path) -> None:
    net = network(folder)
    kernel(uplink)
    await net.apply(topology("node-1", "node-2", "node-3"))
    assert routes() >= {"198.19.2.0": "198.18.0.2", "198.19.3.0": "198.18.0.3"}.items()
    await net.apply(topology("node-1", "node-3"))
    assert "198.19.2.0" not in dict(routes())
    assert dict(routes())["203.0.113.0"] == "198.18.0.9"


def uplink(ip: IPRoute) -> None:
    """Give the namespace an uplink, and a route that is somebody else's."""
    ip.link("add", ifname="eth0", kind="veth", peer="switch")
    ip.link("set", index=ip.link_lookup(ifname="switch")[0], state="up")
    (index,) = ip.link_lookup(ifname="eth0")
    ip.addr("add", index=index, address="198.18.0.1", prefixlen=24)
    ip.link("set", index=index, state="up")
    ip.route("add", dst="203.0.113.0/24", gateway="198.18.0.9")


def routes() -> set[tuple[str, str]]:
    return kernel(
        lambda ip: {
            (route.get_attr("RTA_DST"), route.get_attr("RTA_GATEWAY"))
            for route in ip.get_routes(family=2)
            if route.get_attr("RTA_GATEWAY")
        }
    )


async def rules_that_were_removed_by_hand_come_back(folder: Path) -> None:
    net = network(folder)
    await net.set_up()
    before = ruleset()
    assert "tcp flags" in before
    nft("flush", "ruleset")
    await net.apply(topology("node-1"))
    assert ruleset() == before


def ruleset() -> str:
    return nft("list", "ruleset")


def nft(*words: str) -> str:
    return subprocess.run(["nft", *words], capture_output=True, text=True, check=True).stdout


CASES: Final[dict[str, Callable[[Path], Awaitable[None]]]] = {
    case.__name__: case
    for case in (
        containers_reach_the_node_and_each_other,
        everything_done_twice_is_done_once,
        what_is_half_there_is_made_whole_with_the_same_address,
        a_full_subnet_is_refused_with_numbers,
        a_container_that_leaves_takes_nobodys_gateway_along,
        routes_follow_the_nodes_and_leave_others_alone,
        rules_that_were_removed_by_hand_come_back,
    )
}


async def run(case: str, folder: Path) -> None:
    """Run one case with the loopback up, as every host has it."""
    kernel(lambda ip: ip.link("set", index=1, state="up"))
    await CASES[case](folder)


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], Path(sys.argv[2])))
