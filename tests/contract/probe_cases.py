"""What test_probes.py runs, one case a process: two namespaces with this one as their router."""

import asyncio
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from pyroute2 import IPRoute

from node_agent.network import namespaces
from node_agent.network.kernel_facts import kernel_facts
from node_agent.network.network import Attachment
from node_agent.network.probe_packets import dns_query
from node_agent.probes import AgentProbes
from shared.api import FilterFact, Probe, ProbeAnswer, ProbeKind, ProbeRequest, ProbeState
from shared.model import AllocId
from shared.settings import EtcdSettings, Settings

A, B = AllocId("shop.web.1.a"), AllocId("shop.web.2.a")
ADDRESSES: Final = {A: "198.19.1.2", B: "198.19.2.2"}
ROUTERS: Final = {A: "198.19.1.1", B: "198.19.2.1"}
RUN: Final = 0x1234_5678_9ABC_DEF0


def forward(value: int) -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text(f"{value}\n")


def chain(
    table: str, name: str, hook: str = "forward", *, policy: str = "accept", rule: str = ""
) -> None:
    """Make a chain of somebody's firewall with one rule."""
    head = f"type filter hook {hook} priority 0; policy {policy};"
    script = f"table {table} {{\nchain {name} {{\n{head}\n{rule}\n}}\n}}\n"
    subprocess.run(["nft", "-f", "-"], input=script.encode(), check=True)


def link(folder: Path, id_: AllocId, mtu: int = 1500) -> None:
    pin, outer = folder / id_, f"to-{id_.split('.')[2]}"
    namespaces.make(pin)
    with pin.open() as opened, IPRoute() as ip:
        peer = {"ifname": "eth0", "net_ns_fd": opened.fileno(), "mtu": mtu}
        ip.link("add", ifname=outer, kind="veth", mtu=mtu, peer=peer)
        (index,) = ip.link_lookup(ifname=outer)
        ip.addr("add", index=index, address=ROUTERS[id_], prefixlen=24)
        ip.link("set", index=index, state="up")

    def inside() -> None:
        with IPRoute() as ip:
            (index,) = ip.link_lookup(ifname="eth0")
            ip.link("set", index=1, state="up")
            ip.addr("add", index=index, address=ADDRESSES[id_], prefixlen=24)
            ip.link("set", index=index, state="up")
            ip.route("add", dst="default", gateway=ROUTERS[id_])

    namespaces.enter(pin, inside)


def probes(folder: Path) -> AgentProbes:
    async def find(id_: AllocId) -> Attachment | None:
        pin = folder / id_
        return Attachment(ADDRESSES[id_], str(pin)) if pin.exists() else None

    settings = Settings(
        node="node-1",
        address="198.19.1.1",
        subnet="198.19.1.0/24",
        pool="198.19.0.0/16",
        etcd=EtcdSettings(endpoints=("198.18.0.1:2379",)),
    )
    return AgentProbes(find, settings, listen_s=0.5)


async def ask(folder: Path, *asked: Probe) -> ProbeAnswer:
    return await probes(folder).run(ProbeRequest(run=RUN, probes=asked, listen_in=(A, B)))


def between(kind: ProbeKind, id_: int = 1, port: int = 0, name: str = "") -> Probe:
    return Probe(id=id_, kind=kind, source=A, address=ADDRESSES[B], port=port, name=name)


def states(answer: ProbeAnswer) -> list[ProbeState]:
    return [result.state for result in answer.results]


async def echoes_come_back_and_are_heard(folder: Path) -> None:
    own = Probe(id=2, kind=ProbeKind.ICMP, address=ADDRESSES[B])
    answer = await ask(folder, between(ProbeKind.ICMP), own)
    assert states(answer) == [ProbeState.OK, ProbeState.OK]
    assert answer.heard == (1, 2)


async def what_is_not_forwarded_is_lost_and_not_heard(folder: Path) -> None:
    forward(0)
    answer = await ask(folder, between(ProbeKind.ICMP))
    assert states(answer) == [ProbeState.LOST]
    assert answer.heard == ()
    assert not answer.facts.is_forwarding


async def a_question_whose_answer_is_lost_is_heard_all_the_same(folder: Path) -> None:
    chain("ip other", "f", rule=f"ip daddr {ADDRESSES[A]} drop")
    answer = await ask(folder, between(ProbeKind.ICMP))
    assert states(answer) == [ProbeState.LOST]
    assert answer.heard == (1,)
    where = "chain f in table ip other"
    assert answer.facts.filters == (FilterFact(hook="forward", where=where, is_policy=False),)


async def packets_of_another_run_are_nobodys(folder: Path) -> None:
    mine, other = probes(folder), RUN + (1 << 32)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(mine.run(ProbeRequest(run=RUN, probes=(), listen_in=(B,))))
        sent = ProbeRequest(run=other, probes=(between(ProbeKind.ICMP),))
        second = group.create_task(mine.run(sent))
    assert first.result().heard == ()
    assert states(second.result()) == [ProbeState.OK]


async def a_path_that_is_narrower_and_says_so_is_well(folder: Path) -> None:
    answer = await ask(folder, between(ProbeKind.MTU))
    assert states(answer) == [ProbeState.OK]
    assert answer.results[0].mtu == 1400


async def a_path_that_swallows_large_packets_is_found_with_its_size(folder: Path) -> None:
    chain("ip quiet", "o", "output", rule="icmp type destination-unreachable drop")
    answer = await ask(folder, between(ProbeKind.ICMP), between(ProbeKind.MTU, 2))
    assert states(answer) == [ProbeState.OK, ProbeState.LOST]
    assert answer.results[1].mtu == 1400


async def tcp_tells_taken_refused_and_lost(folder: Path) -> None:
    def listen() -> socket.socket:
        return socket.create_server((ADDRESSES[B], 80))

    with namespaces.enter(folder / B, listen):
        chain("ip other", "f", rule="tcp dport 82 drop")
        tcp = partial(between, ProbeKind.TCP)
        answer = await ask(folder, tcp(1, 80), tcp(2, 81), tcp(3, 82))
    assert states(answer) == [ProbeState.OK, ProbeState.REFUSED, ProbeState.LOST]


async def a_datagram_is_heard_or_refused_by_who_got_it(folder: Path) -> None:
    def listen() -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind((ADDRESSES[B], 53))
        return one

    with namespaces.enter(folder / B, listen):
        udp = partial(between, ProbeKind.UDP)
        answer = await ask(folder, udp(1, 53), udp(2, 54))
    # Somebody listens at 53 and says nothing: only the ear beside it knows.
    assert states(answer) == [ProbeState.LOST, ProbeState.OK]
    assert answer.heard == (1, 2)


def answer_name(server: socket.socket) -> None:
    """Answer a query with NXDOMAIN, after an answer with another id, as a stranger might."""
    data, client = server.recvfrom(512)
    assert data[2:] == dns_query(0, "web.shop")[2:]
    for first in (data[0] ^ 1, data[0]):
        server.sendto(bytes([first, data[1], 0x81, 0x83]) + data[4:], client)


async def names_are_asked_for(folder: Path) -> None:
    def listen() -> socket.socket:
        one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        one.bind((ADDRESSES[B], 53))
        return one

    loop = asyncio.get_running_loop()
    with namespaces.enter(folder / B, listen) as server:
        loop.add_reader(server, answer_name, server)
        dns = partial(between, ProbeKind.DNS)
        answer = await ask(folder, dns(1, 53, "web.shop"), dns(2, 54, "web.shop"))
        loop.remove_reader(server)
    assert states(answer) == [ProbeState.OK, ProbeState.REFUSED]
    assert answer.results[0].why == "it answers NXDOMAIN"


async def a_container_that_has_gone_cannot_be_asked_from(folder: Path) -> None:
    gone = Probe(id=1, kind=ProbeKind.ICMP, source=AllocId("shop.web.3.a"), address=ADDRESSES[B])
    answer = await ask(folder, gone)
    assert states(answer) == [ProbeState.UNABLE]
    assert "shop.web.3.a has no network namespace" in answer.results[0].why


async def the_kernel_is_described(_folder: Path) -> None:
    chain("ip hafen", "f", policy="drop")
    chain("ip filter", "FORWARD", policy="drop")
    chain("inet calm", "f", rule="accept")

    def inside() -> None:
        with IPRoute() as ip:
            ip.route("add", dst="198.19.3.0/24", gateway="198.19.2.9")

    namespaces.in_a_thread(inside)
    facts = await kernel_facts("198.19.1.1", ["198.19.3.0/24", "198.19.4.0/24"])
    assert [(one.hook, one.where) for one in facts.filters] == [
        ("forward", "chain FORWARD in table ip filter")
    ]
    assert [(one.subnet, one.via, one.device) for one in facts.routes] == [
        ("198.19.3.0/24", "198.19.2.9", "to-2")
    ]
    assert (facts.is_forwarding, facts.uplink_mtu, facts.problems) == (True, 1500, ())


CASES: Final[dict[str, Callable[[Path], Coroutine[None, None, None]]]] = {
    case.__name__: case
    for case in (
        echoes_come_back_and_are_heard,
        what_is_not_forwarded_is_lost_and_not_heard,
        a_question_whose_answer_is_lost_is_heard_all_the_same,
        packets_of_another_run_are_nobodys,
        a_path_that_is_narrower_and_says_so_is_well,
        a_path_that_swallows_large_packets_is_found_with_its_size,
        tcp_tells_taken_refused_and_lost,
        a_datagram_is_heard_or_refused_by_who_got_it,
        names_are_asked_for,
        a_container_that_has_gone_cannot_be_asked_from,
        the_kernel_is_described,
    )
}


@contextmanager
def laid_out(folder: Path) -> Iterator[None]:
    """Give two namespaces below `folder`, the second behind a narrower link."""
    with IPRoute() as ip:
        ip.link("set", index=1, state="up")
    link(folder, A)
    link(folder, B, mtu=1400)
    forward(1)
    yield
    for id_ in (A, B):
        namespaces.remove(folder / id_)


if __name__ == "__main__":
    with laid_out(Path(sys.argv[2])):
        asyncio.run(CASES[sys.argv[1]](Path(sys.argv[2])))
