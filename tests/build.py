"""Builders: the smallest valid record, so that a test spells out only what matters to it."""

from collections.abc import Iterable, Mapping
from typing import Any

from node_agent.runtime import Container, Phase
from scheduler.allocs import Asked, SlotPlan
from scheduler.world import NodeState, RolloutState, RoutesState, ServiceId, StackState, World
from shared.model import (
    AllocationStatus,
    AllocId,
    Assignment,
    Health,
    Manifest,
    NodeName,
    NodeSpec,
    Placement,
    PublishedPort,
    Report,
    Resources,
    Revision,
    Rollout,
    RolloutPhase,
    Routes,
    ServiceName,
    ServiceSpec,
    Stack,
    StackName,
    UpdatePolicy,
    Want,
    Workload,
)
from shared.states import AllocState

GIB = 1024**3
MIB = 1024**2
# A copy that is ready is proven at once.
AT_ONCE = UpdatePolicy(monitor_s=0)
ROOMY = Resources(cpu_millis=8000, memory_bytes=16 * GIB)


def node_spec(name: str, **labels: str) -> NodeSpec:
    number = int(name.rpartition("-")[2])
    return NodeSpec(
        name=NodeName(name),
        address=f"198.18.0.{number}",
        subnet=f"198.19.{number}.0/24",
        labels=labels,
    )


def workload(image: str = "app:1", *, memory_bytes: int = 0, port: int = 0) -> Workload:
    ports = (PublishedPort(published=port, target=80),) if port else ()
    return Workload(image=image, reservations=Resources(memory_bytes=memory_bytes), ports=ports)


def service(
    name: str = "web",
    *,
    replicas: int = 1,
    image: str = "app:1",
    memory_bytes: int = 0,
    port: int = 0,
    placement: Placement = Placement(),  # noqa: B008 - frozen
) -> ServiceSpec:
    return ServiceSpec(
        name=ServiceName(name),
        workload=workload(image, memory_bytes=memory_bytes, port=port),
        replicas=replicas,
        placement=placement,
        update=AT_ONCE,
        rollback=AT_ONCE,
    )


def rollout(of: Stack, spec: ServiceSpec, **said: Any) -> Rollout:
    """Return the record of an update that is done, unless it is said to be something else."""
    given: dict[str, Any] = {"phase": RolloutPhase.DONE, "target": spec, "stable": spec} | said
    return Rollout(stack=of.name, service=spec.name, generation=of.generation, **given)


def done(*stacks: Stack) -> dict[ServiceId, RolloutState]:
    """Return the records of stacks that came up whole."""
    return {
        (each.name, spec.name): RolloutState(rollout(each, spec), Revision(1))
        for each in stacks
        for spec in each.services
    }


def stack(name: str, *services: ServiceSpec, generation: int = 1) -> Stack:
    return Stack(name=StackName(name), generation=generation, services=services)


def assignment(
    id_: str, spec: Workload | None = None, *, want: Want = Want.RUN, attempt: int = 0
) -> Assignment:
    stack_name, service_name, slot, _ = id_.split(".")
    return Assignment(
        id=AllocId(id_),
        stack=StackName(stack_name),
        service=ServiceName(service_name),
        slot=int(slot),
        generation=1,
        workload=spec if spec is not None else workload(),
        want=want,
        attempt=attempt,
    )


def running(id_: str, address: str = "198.19.1.2") -> AllocationStatus:
    return AllocationStatus(
        id=AllocId(id_), state=AllocState.RUNNING, health=Health.HEALTHY, address=address
    )


def container(id_: str, phase: Phase = Phase.RUNNING, *, started: int = 1) -> Container:
    return Container(
        assignment=assignment(id_),
        phase=phase,
        address="198.19.1.2",
        started=started,
        exit_code=1 if phase is Phase.EXITED else None,
    )


def node(
    name: str,
    *assignments: Assignment,
    alive: bool = True,
    statuses: Iterable[AllocationStatus] = (),
    capacity: Resources = ROOMY,
    acked: Mapping[str, int] | None = None,
) -> NodeState:
    report = Report(
        node=NodeName(name),
        capacity=capacity,
        allocations=tuple(statuses),
        acked={StackName(key): Revision(value) for key, value in (acked or {}).items()},
    )
    return NodeState(
        spec=node_spec(name),
        alive=alive,
        report=report,
        manifest=Manifest(node=NodeName(name), generation=1, assignments=assignments),
        manifest_revision=Revision(1),
    )


def world(
    nodes: Iterable[NodeState],
    stacks: Iterable[Stack] = (),
    routes: Iterable[Routes] = (),
    *,
    revision: int = 100,
    rollouts: Mapping[ServiceId, RolloutState] | None = None,
) -> World:
    """Return a world whose stacks came up whole, unless `rollouts` says otherwise."""
    stacks = tuple(stacks)
    return World(
        revision=Revision(revision),
        nodes={each.spec.name: each for each in nodes},
        stacks={each.name: StackState(each, Revision(1)) for each in stacks},
        routes={each.stack: RoutesState(each, Revision(1)) for each in routes},
        rollouts=done(*stacks) if rollouts is None else rollouts,
    )


def asked(stack_name: str, spec: ServiceSpec) -> Asked:
    """Return a service all of whose slots should have one version."""
    slots = {slot: SlotPlan(spec=spec) for slot in range(1, spec.replicas + 1)}
    return Asked(
        stack=StackName(stack_name), service=spec.name, spec=spec, slots=slots, standby_spec=spec
    )


def asked_of(state: World) -> list[Asked]:
    """Return every service of a settled world."""
    return [
        asked(name, spec) for name, each in state.stacks.items() for spec in each.stack.services
    ]
