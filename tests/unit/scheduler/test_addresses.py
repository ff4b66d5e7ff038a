"""Addresses of containers: never two alike on a node, whatever the node has not heard yet."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.addresses import needs_address
from scheduler.decide import Decision, decide
from scheduler.draft import Draft
from scheduler.memory import Memory
from scheduler.story import Now
from scheduler.world import NodeState, World
from shared.model import (
    AllocationStatus,
    AllocId,
    Assignment,
    Manifest,
    NodeName,
    Report,
    Stack,
    Want,
    Workload,
)
from shared.states import AllocState
from shared.subnets import capacity_of, network_of
from shared.timing import LAN
from tests.build import ROOMY, assignment, node, service, stack, workload, world

NODE = NodeName("node-1")
SUBNET = "198.19.1.0/29"
SIZE = 5


def small(state: NodeState, subnet: str = SUBNET) -> NodeState:
    return msgspec.structs.replace(state, spec=msgspec.structs.replace(state.spec, subnet=subnet))


class Host:
    """A node that hears of manifests late, removes late, and is heard late."""

    def __init__(self) -> None:
        self.world = world([small(node(NODE))])
        self.known = self.manifest
        self.containers: dict[AllocId, str] = {}
        self.count = 0

    @property
    def manifest(self) -> Manifest:
        found = self.world.nodes[NODE].manifest
        assert found is not None
        return found

    def decide(self, leave: int, come: int) -> None:
        """Let the leader drop some allocations and give as many new ones as there is room for."""
        draft = Draft(self.world)
        for one in self.manifest.assignments[:leave]:
            draft.drop(one.id, "it is not asked for")
        for _ in range(min(come, draft.addresses(NODE).free)):
            self.count += 1
            draft.add(NODE, assignment(f"shop.web.{self.count}.a"), "it is asked for")
        for write in draft.writes({}, {}):
            assert isinstance(write.record, Manifest)
            self._set(manifest=write.record)
        addresses = [one.address for one in self.manifest.assignments]
        assert all(addresses)
        assert len(set(addresses)) == len(addresses)

    def hear(self) -> None:
        """Take the newest manifest, and make what is new before anything is removed."""
        self.known = self.manifest
        for one in self.known.assignments:
            self.containers.setdefault(one.id, one.address)
        assert len(set(self.containers.values())) == len(self.containers), self.containers

    def remove(self) -> None:
        wanted = {one.id for one in self.known.assignments}
        self.containers = {id_: a for id_, a in self.containers.items() if id_ in wanted}

    def report(self) -> None:
        found = tuple(
            AllocationStatus(id=id_, state=AllocState.RUNNING, address=address)
            for id_, address in sorted(self.containers.items())
        )
        self._set(
            report=Report(
                node=NODE,
                capacity=ROOMY,
                allocations=found,
                manifest_generation=self.known.generation,
            )
        )

    def _set(self, **fields: object) -> None:
        state = msgspec.structs.replace(self.world.nodes[NODE], **fields)
        self.world = msgspec.structs.replace(self.world, nodes={NODE: state})


STEPS = st.lists(
    st.one_of(
        st.tuples(st.integers(0, 3), st.integers(0, SIZE)),
        st.sampled_from(["hear", "remove", "report"]),
    ),
    max_size=30,
)


@settings(max_examples=300)
@given(STEPS)
def test_no_two_containers_of_a_node_ever_have_the_same_address(
    steps: list[tuple[int, int] | str],
) -> None:
    host = Host()
    for step in steps:
        match step:
            case "hear":
                host.hear()
            case "remove":
                host.remove()
            case "report":
                host.report()
            case (int(leave), int(come)):
                host.decide(leave, come)
            case _:
                raise AssertionError(step)
    # Once all is heard and said, every address that nothing has is free again.
    host.hear()
    host.remove()
    host.report()
    free = SIZE - len(host.containers)
    host.decide(0, SIZE)
    assert len(host.manifest.assignments) == len(host.containers) + free == SIZE


def test_an_address_that_was_freed_rests_as_long_as_possible() -> None:
    host, given_ = Host(), []
    for _ in range(2 * SIZE):
        host.decide(1, 1)
        given_ += [one.address for one in host.manifest.assignments]
        for step in (host.hear, host.remove, host.report):
            step()
    assert given_ == [f"198.19.1.{last}" for last in (2, 3, 4, 5, 6)] * 2


def at(state: World) -> Decision:
    return decide(state, Memory(), Now(0.0, 0.0), LAN)


def placed(decision: Decision) -> list[Assignment]:
    return [
        one
        for write in decision.plan.writes
        if isinstance(write.record, Manifest)
        for one in write.record.assignments
    ]


def deployed(replicas: int, spec: Workload | None = None) -> Stack:
    web = service(replicas=replicas)
    return stack("shop", msgspec.structs.replace(web, workload=spec or web.workload))


@given(st.integers(0, 14), st.sampled_from([SUBNET, "198.19.1.0/30"]))
def test_a_pass_gives_no_more_addresses_than_there_are(replicas: int, subnet: str) -> None:
    hosts = [small(node("node-1"), subnet), small(node("node-2"), "198.19.2.0/29")]
    decision = at(world(hosts, [deployed(replicas)]))
    capacity = capacity_of(subnet) + SIZE
    assert len(placed(decision)) == min(replicas, capacity)
    assert len(decision.unplaceable) == max(replicas - capacity, 0)
    for host in hosts:
        network = network_of(host.spec.subnet)
        assert network is not None
        own = [one.address for one in placed(decision) if one.address.startswith(str(network)[:9])]
        assert len(set(own)) == len(own) <= capacity_of(host.spec.subnet)


def test_a_node_without_a_free_address_says_so_with_numbers() -> None:
    decision = at(world([small(node("node-1"))], [deployed(SIZE + 1)]))
    assert [one.reason for one in decision.unplaceable] == [
        "no node fits: node-1: addresses: all 5 of 198.19.1.0/29 are taken"
    ]


def test_a_subnet_that_cannot_be_read_gives_nothing_and_stops_nobody() -> None:
    hosts = [small(node("node-1"), "nonsense"), node("node-2")]
    decision = at(world(hosts, [deployed(1)]))
    assert [one.address for one in placed(decision)] == ["198.19.2.2"]


@pytest.mark.parametrize("mode", ["host", "none"])
def test_what_has_no_network_of_its_own_needs_no_address(mode: str) -> None:
    spec = msgspec.structs.replace(workload(), network_mode=mode)
    assert not needs_address(spec)
    decision = at(world([small(node("node-1"))], [deployed(SIZE + 2, spec)]))
    assert [one.address for one in placed(decision)] == [""] * (SIZE + 2)


def test_what_a_node_chose_itself_is_not_given_again() -> None:
    old = AllocationStatus(id=AllocId("a.b.1.x"), state=AllocState.RUNNING, address="198.19.1.2")
    decision = at(world([small(node("node-1", statuses=[old]))], [deployed(1)]))
    assert [one.address for one in placed(decision)] == ["198.19.1.3"]


def test_a_standby_has_an_address_and_keeps_it_when_it_takes_over() -> None:
    held = msgspec.structs.replace(
        assignment("shop.web.0.a", want=Want.STANDBY), address="198.19.1.4"
    )
    draft = Draft(world([node("node-1", held)]))
    draft.activate(held.id, 1, "its node is lost")
    (write,) = draft.writes({}, {})
    assert isinstance(write.record, Manifest)
    assert [(one.want, one.address) for one in write.record.assignments] == [
        (Want.RUN, "198.19.1.4")
    ]
