"""Small worlds to look at: spell out only what matters."""

from collections.abc import Mapping, Sequence

from scheduler.api.placed import placed
from scheduler.api.progress import Stand
from scheduler.explain import Unplaced
from scheduler.nodes import Verdict, Verdicts
from scheduler.world import NodeState, RolloutState, RoutesState, StackState, World
from shared.model import (
    AllocationStatus,
    AllocId,
    Assignment,
    Endpoint,
    EndpointState,
    Health,
    Leader,
    Manifest,
    NodeName,
    NodeSpec,
    Protocol,
    PublishedPort,
    Report,
    Resources,
    Revision,
    Rollout,
    RolloutPhase,
    Routes,
    ServiceName,
    ServiceRoutes,
    ServiceSpec,
    Stack,
    StackName,
    Want,
    Workload,
)
from shared.states import AllocState

SHOP = StackName("shop")
PORT = PublishedPort(published=8080, target=80, protocol=Protocol.HTTP)


def spec(
    name: str = "web",
    replicas: int = 1,
    *,
    image: str = "nginx:1",
    ports: Sequence[PublishedPort] = (),
) -> ServiceSpec:
    return ServiceSpec(
        name=ServiceName(name),
        workload=Workload(image=image, ports=tuple(ports)),
        replicas=replicas,
    )


def stack(*services: ServiceSpec, name: str = "shop", generation: int = 1) -> Stack:
    return Stack(name=StackName(name), generation=generation, services=services)


def assignment(
    service: ServiceSpec,
    slot: int = 1,
    *,
    suffix: str = "a",
    want: Want = Want.RUN,
    attempt: int = 0,
) -> Assignment:
    return Assignment(
        id=AllocId(f"shop.{service.name}.{slot}.{suffix}"),
        stack=SHOP,
        service=service.name,
        slot=slot,
        generation=1,
        workload=service.workload,
        want=want,
        attempt=attempt,
    )


def status(
    of: Assignment,
    state: AllocState = AllocState.RUNNING,
    health: Health = Health.HEALTHY,
    reason: str = "",
) -> AllocationStatus:
    return AllocationStatus(
        id=of.id, state=state, health=health, address="10.90.1.2", reason=reason, since_s=100.0
    )


def node(
    number: int,
    assignments: Sequence[Assignment] = (),
    statuses: Sequence[AllocationStatus] = (),
    *,
    alive: bool = True,
    acked: Mapping[StackName, Revision] | None = None,
) -> NodeState:
    name = NodeName(f"node-{number}")
    return NodeState(
        spec=NodeSpec(name=name, address=f"192.0.2.{number}", subnet=f"10.90.{number}.0/24"),
        alive=alive,
        report=Report(
            node=name,
            capacity=Resources(cpu_millis=2000, memory_bytes=2**30),
            allocations=tuple(statuses),
            acked=acked or {},
        ),
        manifest=Manifest(node=name, generation=1, assignments=tuple(assignments)),
        manifest_revision=Revision(5),
    )


def routes(service: ServiceSpec, *ready: Assignment, revision: int = 7) -> RoutesState:
    endpoints = tuple(
        Endpoint(
            allocation=one.id,
            node=NodeName("node-1"),
            address="10.90.1.2",
            state=EndpointState.READY,
        )
        for one in ready
    )
    served = ServiceRoutes(service=service.name, ports=service.workload.ports, endpoints=endpoints)
    return RoutesState(Routes(stack=SHOP, services=(served,)), Revision(revision))


def rollout(
    service: ServiceSpec,
    phase: RolloutPhase,
    *,
    generation: int = 1,
    is_back: bool = False,
    ruled: int = 0,
) -> Rollout:
    return Rollout(
        stack=SHOP,
        service=service.name,
        generation=generation,
        phase=phase,
        target=service,
        reason="" if phase is RolloutPhase.DONE else "it crashed",
        is_back=is_back,
        ruled=ruled,
    )


def world(
    *nodes: NodeState,
    stacks: Sequence[Stack] = (),
    served: RoutesState | None = None,
    rollouts: Sequence[Rollout] = (),
) -> World:
    return World(
        revision=Revision(9),
        nodes={one.spec.name: one for one in nodes},
        stacks={one.name: StackState(one, Revision(3)) for one in stacks},
        routes={SHOP: served} if served is not None else {},
        rollouts={(one.stack, one.service): RolloutState(one, Revision(4)) for one in rollouts},
        leader=Leader(node=NodeName("node-1")),
    )


def judged(seen: World) -> Verdicts:
    return {
        name: Verdict.READY if one.alive else Verdict.SUSPECT for name, one in seen.nodes.items()
    }


def stand(
    seen: World, *, verdicts: Verdicts | None = None, unplaced: Unplaced | None = None
) -> Stand:
    known = judged(seen) if verdicts is None else verdicts
    return Stand(
        world=seen,
        verdicts=known,
        stack=SHOP,
        found=placed(seen, known),
        unplaced=unplaced or Unplaced(),
    )
