"""A cluster that obeys the leader at once settles in exactly what was asked."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.decide import Decision, decide
from scheduler.memory import Memory
from scheduler.story import Now
from scheduler.world import NodeState, RolloutState, RoutesState, StackState, VolumeState, World
from shared import keys
from shared.model import (
    AllocationStatus,
    Assignment,
    Health,
    Manifest,
    NodeName,
    Report,
    Revision,
    Rollout,
    Routes,
    ServiceName,
    ServiceSpec,
    Stack,
    StackName,
    Volume,
    Want,
)
from shared.states import AllocState
from shared.timing import LAN
from tests.build import ROOMY, node, running, service, stack, world


def at(now: float, state: World, memory: Memory, vips: str = "") -> Decision:
    return decide(state, memory, Now(now, 1000.0 + now), LAN, vips=vips)


def _status(held: Assignment) -> AllocationStatus:
    done = running(held.id)
    if held.want is Want.STANDBY:
        return msgspec.structs.replace(done, state=AllocState.PREPARING, health=Health.STARTING)
    return done


class Obedient:
    """Applies plans as etcd and agents would, everything at once and without faults."""

    def __init__(self, nodes: int, stacks: list[Stack]) -> None:
        self.world = world(
            [node(f"node-{number}") for number in range(1, nodes + 1)], stacks, rollouts={}
        )
        self.memory, self.now, self.vips = Memory(), 0.0, ""

    def step(self) -> bool:
        """Decide, apply, let the nodes act; say whether anything was written."""
        decision = at(self.now, self.world, self.memory, self.vips)
        self.memory = decision.memory
        self.now += max(decision.plan.wake_in_s, 0.01)
        for write in decision.plan.writes:
            self._apply(write.record, write.key)
        self.world = msgspec.structs.replace(self.world, nodes=self._acted())
        return bool(decision.plan.writes)

    def _apply(self, record: object, key: str) -> None:
        revision = Revision(self.world.revision + 1)
        nodes, served_now = dict(self.world.nodes), dict(self.world.routes)
        updates, volumes = dict(self.world.rollouts), dict(self.world.volumes)
        removals = dict(self.world.removals)
        if isinstance(record, Manifest):
            nodes[record.node] = msgspec.structs.replace(
                nodes[record.node], manifest=record, manifest_revision=revision
            )
        elif isinstance(record, Routes):
            served_now[record.stack] = RoutesState(record, revision)
        elif isinstance(record, Rollout):
            updates[record.stack, record.service] = RolloutState(record, revision)
        elif isinstance(record, Volume):
            volumes[record.name] = VolumeState(record, revision)
        elif key.startswith(keys.ROUTES):
            del served_now[StackName(key.removeprefix(keys.ROUTES))]
        elif key.startswith(keys.VOLUMES):
            del volumes[key.removeprefix(keys.VOLUMES)]
        elif key.startswith(keys.REMOVALS):
            del removals[key.removeprefix(keys.REMOVALS)]
        else:
            stack_name, _, service_name = key.removeprefix(keys.ROLLOUTS).partition("/")
            del updates[StackName(stack_name), ServiceName(service_name)]
        self.world = msgspec.structs.replace(
            self.world,
            nodes=nodes,
            routes=served_now,
            rollouts=updates,
            volumes=volumes,
            removals=removals,
            revision=revision,
        )

    def _acted(self) -> dict[NodeName, NodeState]:
        acked = {name: state.revision for name, state in self.world.routes.items()}
        return {
            name: msgspec.structs.replace(
                state,
                report=Report(
                    node=name,
                    capacity=ROOMY,
                    allocations=tuple(_status(a) for a in state.assignments),
                    acked=acked,
                ),
            )
            if state.alive
            else state
            for name, state in self.world.nodes.items()
        }

    def deploy(self, stacks: list[Stack]) -> None:
        self.world = msgspec.structs.replace(
            self.world, stacks={each.name: StackState(each, Revision(1)) for each in stacks}
        )

    def lose(self, name: str) -> None:
        nodes = dict(self.world.nodes)
        nodes[NodeName(name)] = msgspec.structs.replace(nodes[NodeName(name)], alive=False)
        self.world = msgspec.structs.replace(self.world, nodes=nodes)

    def settle(self) -> None:
        for _ in range(200):
            if not self.step() and not self.memory.nodes.missing_since:
                return
            if not self.step() and self.now > 1000:
                return


def _service(standby: int, *, exclusive: bool, **said: Any) -> ServiceSpec:
    spec = service(**said)
    return msgspec.structs.replace(
        spec,
        standby=standby,
        workload=msgspec.structs.replace(spec.workload, exclusive=exclusive),
    )


SERVICES = st.lists(
    st.builds(
        _service,
        standby=st.integers(0, 2),
        exclusive=st.booleans(),
        name=st.sampled_from(["web", "db", "api"]),
        replicas=st.integers(0, 5),
        image=st.sampled_from(["app:1", "app:2"]),
        port=st.sampled_from([0, 8080]),
    ),
    max_size=3,
    unique_by=lambda spec: spec.name,
)
STACKS = st.lists(
    st.builds(lambda name, specs: stack(name, *specs), st.sampled_from(["a", "b"]), SERVICES),
    max_size=2,
    unique_by=lambda each: each.name,
)


@settings(max_examples=60)
@given(STACKS, STACKS, st.booleans())
def test_a_cluster_that_obeys_settles_in_exactly_what_was_asked(
    first: list[Stack],
    then: list[Stack],
    loses_one: bool,  # noqa: FBT001 - drawn
) -> None:
    cluster = Obedient(3, first)
    cluster.settle()
    cluster.deploy(then)
    if loses_one:
        cluster.lose("node-2")
    cluster.settle()

    assert at(cluster.now, cluster.world, cluster.memory).plan.writes == ()
    alive = [state for state in cluster.world.nodes.values() if state.alive]
    found = sorted(
        (a.stack, a.service, a.slot, a.workload.image)
        for s in alive
        for a in s.assignments
        if a.want is not Want.STANDBY
    )
    assert found == sorted(
        (each.name, spec.name, slot, spec.workload.image)
        for each in then
        for spec in each.services
        for slot in range(1, spec.replicas + 1)
    )
    for each in then:
        for spec in each.services:
            _check_standbys(alive, each.name, spec)
    served_now = {
        (name, each.service): len(each.endpoints)
        for name, state in cluster.world.routes.items()
        for each in state.routes.services
    }
    assert served_now == {
        (each.name, spec.name): spec.replicas
        for each in then
        for spec in each.services
        if spec.workload.ports
    }


def _check_standbys(alive: list[NodeState], stack_name: StackName, spec: ServiceSpec) -> None:
    """Every node without a replica has at most one standby, and there are as many as can be."""
    own = [
        [a for a in s.assignments if (a.stack, a.service) == (stack_name, spec.name)] for s in alive
    ]
    standbys = [sum(a.want is Want.STANDBY for a in held) for held in own]
    replicas = [sum(a.want is Want.RUN for a in held) for held in own]
    assert not any(waits and runs for waits, runs in zip(standbys, replicas, strict=True))
    assert max(standbys) <= 1
    expected = min(spec.standby, replicas.count(0)) if spec.replicas else 0
    assert sum(standbys) == expected


@settings(max_examples=30)
@given(STACKS, STACKS)
def test_during_an_update_a_slot_that_was_ready_keeps_a_ready_endpoint(
    first: list[Stack], then: list[Stack]
) -> None:
    cluster = Obedient(3, first)
    cluster.settle()
    kept = {
        (each.name, spec.name)
        for each in first
        for spec in each.services
        if spec.replicas
        and any(
            other.name == each.name
            and any(s.name == spec.name and s.replicas for s in other.services)
            for other in then
        )
    }
    cluster.deploy(then)
    for _ in range(60):
        cluster.step()
        for name, service_name in kept:
            ready = [
                a
                for state in cluster.world.nodes.values()
                for a in state.assignments
                if (a.stack, a.service, a.want) == (name, service_name, Want.RUN)
                or ((a.stack, a.service) == (name, service_name) and a.want is Want.DRAIN)
            ]
            assert ready, f"{name}.{service_name} lost its last replica"
