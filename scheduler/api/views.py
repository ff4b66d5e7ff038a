"""World -> what the API answers.

Pure. Everything is sorted, so that equal worlds give equal answers.
"""

from collections.abc import Iterable, Mapping, Sequence

from scheduler.api.placed import Placed, Verdicts
from scheduler.nodes import Verdict
from scheduler.world import NodeState, World
from shared.api import (
    AllocationList,
    ClusterView,
    NodeView,
    ServiceList,
    ServiceView,
)
from shared.model import (
    NodeName,
    PublishedPort,
    Resources,
    Revision,
    ServiceName,
    ServiceSpec,
    StackName,
    Workload,
)

# What stands in the way of each service, one sentence each.
Waiting = Mapping[ServiceName, tuple[str, ...]]


def nodes(world: World, verdicts: Verdicts) -> tuple[NodeView, ...]:
    """Return every node, sorted by name."""
    leader = world.leader.node if world.leader is not None else None
    return tuple(
        _node(world.nodes[name], verdicts.get(name, Verdict.SUSPECT), is_leader=name == leader)
        for name in sorted(world.nodes)
    )


def _node(node: NodeState, verdict: Verdict, *, is_leader: bool) -> NodeView:
    report = node.report
    return NodeView(
        name=node.spec.name,
        state=verdict.value,
        address=node.spec.address,
        capacity=report.capacity if report is not None else Resources(),
        reserved=_sum(one.workload.reservations for one in node.assignments),
        allocations=len(node.assignments),
        leader=is_leader,
        problems=report.problems if report is not None else (),
    )


def _sum(parts: Iterable[Resources]) -> Resources:
    total = Resources()
    for part in parts:
        total = Resources(
            cpu_millis=total.cpu_millis + part.cpu_millis,
            memory_bytes=total.memory_bytes + part.memory_bytes,
            pids=total.pids + part.pids,
        )
    return total


def cluster(
    world: World,
    verdicts: Verdicts,
    found: Sequence[Placed],
    *,
    revision: Revision,
    is_reachable: bool,
) -> ClusterView:
    """Return the cluster at a glance."""
    return ClusterView(
        etcd_reachable=is_reachable,
        leader=world.leader.node if world.leader is not None else NodeName(""),
        revision=revision,
        nodes=nodes(world, verdicts),
        stacks=len(world.stacks),
        replicas_wanted=sum(
            spec.replicas for state in world.stacks.values() for spec in state.stack.services
        ),
        replicas_ready=sum(one.is_ready for one in found),
    )


def services(
    world: World,
    found: Sequence[Placed],
    waiting: Mapping[StackName, Waiting],
    stack: StackName | None = None,
) -> ServiceList:
    """Return the services that people asked for, of all stacks or of one."""
    return ServiceList(
        services=tuple(
            view
            for name in sorted(world.stacks)
            if stack in {None, name}
            for view in stack_services(world, name, found, waiting.get(name, {}))
        )
    )


def stack_services(
    world: World, stack: StackName, found: Sequence[Placed], waiting: Waiting
) -> tuple[ServiceView, ...]:
    """Return a stack's services, sorted by name; those that only still run ask for 0 replicas."""
    state = world.stacks.get(stack)
    specs = {spec.name: spec for spec in state.stack.services} if state is not None else {}
    of_stack: dict[ServiceName, list[Placed]] = {name: [] for name in specs}
    for one in found:
        if one.view.stack == stack and one.is_there:
            of_stack.setdefault(one.view.service, []).append(one)
    return tuple(
        _service(stack, name, specs.get(name), of_stack[name], waiting.get(name, ()))
        for name in sorted(of_stack)
    )


def _service(
    stack: StackName,
    name: ServiceName,
    spec: ServiceSpec | None,
    found: Sequence[Placed],
    waiting: tuple[str, ...],
) -> ServiceView:
    workload = spec.workload if spec is not None else None
    return ServiceView(
        stack=stack,
        service=name,
        image=_image(workload, found),
        replicas=spec.replicas if spec is not None else 0,
        ready=sum(one.is_ready for one in found),
        updated=sum(is_updated(one, workload) for one in found),
        ports=tuple(port_text(port) for port in workload.ports) if workload is not None else (),
        waiting=waiting,
    )


def is_updated(one: Placed, workload: Workload | None) -> bool:
    """Say whether an allocation is ready and runs what is asked for now."""
    return one.is_ready and one.workload == workload


def _image(workload: Workload | None, found: Sequence[Placed]) -> str:
    if workload is not None:
        return workload.image
    return next((one.view.image for one in found if one.view.image), "")


def port_text(port: PublishedPort) -> str:
    """Return a published port as people write it, such as "8080->80/http"."""
    return f"{port.published}->{port.target}/{port.protocol}"


def allocations(
    found: Sequence[Placed],
    *,
    stack: str | None = None,
    service: str | None = None,
    node: str | None = None,
) -> AllocationList:
    """Return the allocations that match every filter that is given."""
    return AllocationList(
        allocations=tuple(
            one.view
            for one in found
            if stack in {None, one.view.stack}
            and service in {None, one.view.service}
            and node in {None, one.view.node}
        )
    )
