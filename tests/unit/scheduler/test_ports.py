"""Ports of a node itself: one replica on each node, whatever is updated."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scheduler.fit import Candidate, Request
from scheduler.forecast import Start, forecast
from scheduler.nodes import History
from scheduler.place import Bound, place
from scheduler.story import Now
from scheduler.world import NodeState
from shared.model import (
    Manifest,
    Mode,
    NodeName,
    Order,
    Protocol,
    PublishedPort,
    Resources,
    RolloutPhase,
    ServiceName,
    ServiceSpec,
    StackName,
    Want,
    runs_alike,
)
from shared.ports import host_ports, port_of
from shared.timing import LAN
from tests.build import node_spec, service, stack
from tests.unit.scheduler.test_decide_settles import Obedient

DNS = PublishedPort(published=53, target=5353, protocol=Protocol.UDP, is_host=True)
KEY = (StackName("shop"), ServiceName("dns"))
PORTS = st.lists(st.sampled_from([(53, "udp"), (53, "tcp"), (80, "tcp")]), max_size=2, unique=True)


def dns(image: str = "app:1", replicas: int = 1, **said: object) -> ServiceSpec:
    spec = service("dns", image=image, replicas=replicas)
    held = msgspec.structs.replace(spec.workload, ports=(DNS,))
    return msgspec.structs.replace(spec, workload=held, **said)


def test_numbers_of_tcp_and_of_udp_are_two_ports() -> None:
    tcp = msgspec.structs.replace(DNS, protocol=Protocol.HTTP)
    assert port_of(DNS) != port_of(tcp) == (53, "tcp")
    held = msgspec.structs.replace(dns().workload, ports=(tcp, DNS, DNS))
    assert host_ports(held) == ((53, "tcp"), (53, "udp"))


@given(st.lists(PORTS, max_size=8), st.integers(1, 3))
def test_no_node_gets_a_port_twice_and_a_refusal_names_who_has_it(
    wanted: list[list[tuple[int, str]]], nodes: int
) -> None:
    roomy = Resources(cpu_millis=9000, memory_bytes=1 << 40)
    hosts = [
        Candidate(spec=node_spec(f"node-{number}"), capacity=roomy, free=roomy)
        for number in range(1, nodes + 1)
    ]
    requests = [
        Request(service=KEY, slot=slot, needs=Resources(), ports=tuple(ports))
        for slot, ports in enumerate(wanted, 1)
    ]
    outcomes = place(hosts, requests)
    taken = [
        (outcome.node, port)
        for outcome in outcomes
        if isinstance(outcome, Bound)
        for port in outcome.request.ports
    ]
    assert len(set(taken)) == len(taken)
    for outcome in outcomes:
        if not isinstance(outcome, Bound):
            assert len(outcome.refusals) == nodes
            assert all("of this node is taken by shop.dns." in one.why for one in outcome.refusals)


class Watched(Obedient):
    """Checks that no node is to have the port twice; its nodes fetch what they are told to."""

    fewest = 99

    def _acted(self) -> dict[NodeName, NodeState]:
        found = super()._acted()
        for name, state in found.items():
            assert state.report is not None
            assert state.manifest is not None
            report = msgspec.structs.replace(state.report, images=state.manifest.images)
            found[name] = msgspec.structs.replace(state, report=report)
        return found

    def step(self) -> bool:
        wrote = super().step()
        nodes = self.world.nodes.values()
        for state in nodes:
            assert isinstance(state.manifest, Manifest)
            assert len([one for one in state.assignments if host_ports(one.workload)]) <= 1
        running = sum(one.want is Want.RUN for state in nodes for one in state.assignments)
        self.fewest = min(self.fewest, running)
        return wrote


@pytest.mark.parametrize(
    ("nodes", "mode", "fewest"),
    [(3, Mode.REPLICATED, 2), (2, Mode.REPLICATED, 1), (2, Mode.GLOBAL, 1)],
)
def test_an_update_stops_first_only_where_no_other_node_is_left(
    nodes: int, mode: Mode, fewest: int
) -> None:
    cluster = Watched(nodes, [stack("shop", dns("app:1", 2, mode=mode))])
    cluster.settle()
    cluster.fewest = 99
    cluster.deploy([stack("shop", dns("app:2", 2, mode=mode), generation=2)])
    cluster.settle()
    assert cluster.world.rollouts[KEY].rollout.phase is RolloutPhase.DONE
    images = [
        one.workload.image for state in cluster.world.nodes.values() for one in state.assignments
    ]
    assert images == ["app:2"] * 2
    assert cluster.fewest == fewest


def test_who_insists_on_start_first_is_told_who_has_the_port() -> None:
    policy = msgspec.structs.replace(dns().update, order=Order.START_FIRST)
    cluster = Watched(1, [stack("shop", dns("app:1", update=policy))])
    cluster.settle()
    cluster.deploy([stack("shop", dns("app:2", update=policy), generation=2)])
    cluster.step()
    cluster.step()
    assert set(cluster.memory.unplaced.values()) == {
        "slot 1: no node fits: node-1: port 53/udp of this node is taken by shop.dns.1"
    }


def test_another_port_of_the_node_is_another_container_and_another_published_port_is_none() -> None:
    before = dns().workload
    moved = msgspec.structs.replace(DNS, published=54)
    assert not runs_alike(before, msgspec.structs.replace(before, ports=(moved,)))
    meshed = [
        msgspec.structs.replace(before, ports=(msgspec.structs.replace(each, is_host=False),))
        for each in (DNS, moved)
    ]
    assert runs_alike(*meshed)
    assert not runs_alike(before, meshed[0])


def test_a_plan_says_that_there_are_more_copies_than_nodes_with_the_port_free() -> None:
    state = Obedient(2, []).world
    start = Start(state, History(), Now(100.0, 1000.0))
    found = forecast(start, stack("shop", dns(replicas=3)), LAN, lambda: False)
    assert [one.node for one in found.steps] == ["node-1", "node-2"]
    taken = [
        f"node-{number}: port 53/udp of this node is taken by shop.dns.{number}"
        for number in (1, 2)
    ]
    assert found.refusals == (f"dns 3: no node fits: {'; '.join(taken)}",)
