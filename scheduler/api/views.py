"""World -> what the API answers.

Pure. Everything is sorted, so that equal worlds give equal answers.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from scheduler.api.floating import floating
from scheduler.api.placed import Placed
from scheduler.api.unread import all_unread
from scheduler.candidates import lasting_of
from scheduler.fit import total
from scheduler.nodes import Judged, Verdict
from scheduler.world import NodeState, World
from shared.api import (
    AllocationList,
    ClusterView,
    NodeView,
    ServiceList,
    ServiceView,
)
from shared.model import (
    Claim,
    NodeName,
    PublishedPort,
    Resources,
    Revision,
    Rollout,
    ServiceName,
    ServiceSpec,
    StackName,
    runs_alike,
)

# What stands in the way of each service, one sentence each.
Waiting = Mapping[ServiceName, tuple[str, ...]]


def nodes(world: World, judged: Judged) -> tuple[NodeView, ...]:
    """Return every node, sorted by name."""
    leader = world.leader.node if world.leader is not None else None
    return tuple(
        _node(
            world.nodes[name],
            judged.verdicts.get(name, Verdict.SUSPECT),
            judged.reasons.get(name, ""),
            is_leader=name == leader,
        )
        for name in sorted(world.nodes)
    )


def _node(node: NodeState, verdict: Verdict, reason: str, *, is_leader: bool) -> NodeView:
    report = node.report
    return NodeView(
        name=node.spec.name,
        state=verdict.value,
        address=node.spec.address,
        capacity=report.capacity if report is not None else Resources(),
        reserved=total(one.workload.reservations for one in lasting_of(report, node.assignments)),
        allocations=len(node.assignments),
        leader=is_leader,
        reason=reason,
        problems=report.problems if report is not None else (),
        availability=node.spec.availability,
        labels=node.spec.labels,
    )


def cluster(
    world: World,
    judged: Judged,
    found: Sequence[Placed],
    waiting: Mapping[StackName, Waiting],
    *,
    revision: Revision,
    is_reachable: bool,
) -> ClusterView:
    """Return the cluster at a glance."""
    return ClusterView(
        etcd_reachable=is_reachable,
        leader=world.leader.node if world.leader is not None else NodeName(""),
        revision=revision,
        nodes=nodes(world, judged),
        stacks=len(world.stacks),
        replicas_wanted=sum(one.replicas for one in services(world, found, waiting).services),
        replicas_ready=sum(_serves(one) for one in found),
        services=services(world, found, waiting).services,
        floating=floating(world, judged.verdicts).addresses,
        unread=all_unread(world),
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
        ),
        unread={name: why for name, why in all_unread(world).items() if stack in {None, name}},
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
        _service(
            _Service(
                stack,
                name,
                specs.get(name),
                world.claims.get((stack, name, 1)),
                rollout_of(world, stack, name),
            ),
            of_stack[name],
            waiting.get(name, ()),
        )
        for name in sorted(of_stack)
    )


class _Service(msgspec.Struct, frozen=True):
    """What etcd says of a service.

    What is asked for, who has its claim if it is exclusive, and how far its newest update is.
    """

    stack: StackName
    name: ServiceName
    spec: ServiceSpec | None
    claim: Claim | None
    rollout: Rollout | None


def _service(of: _Service, found: Sequence[Placed], waiting: tuple[str, ...]) -> ServiceView:
    spec = of.spec
    workload = spec.workload if spec is not None else None
    return ServiceView(
        stack=of.stack,
        service=of.name,
        image=_image(of, found),
        replicas=wanted(spec, found) if spec is not None else 0,
        ready=sum(_serves(one) for one in found),
        updated=sum(spec is not None and is_updated(one, spec) for one in found),
        ports=tuple(port_text(port) for port in workload.ports) if workload is not None else (),
        waiting=waiting,
        standby=spec.standby if spec is not None and spec.replicas else 0,
        prepared=sum(spec is not None and one.is_prepared and is_fresh(one, spec) for one in found),
        exclusive=workload is not None and workload.exclusive,
        holder=of.claim.node if of.claim is not None else NodeName(""),
        epoch=of.claim.epoch if of.claim is not None else 0,
        stopped=spec is not None and spec.is_stopped,
        phase=of.rollout.phase.value if of.rollout is not None else "",
        reason=of.rollout.reason if of.rollout is not None else "",
    )


def rollout_of(world: World, stack: StackName, service: ServiceName) -> Rollout | None:
    """Return how far a service's newest update is; None: the leader has not begun one."""
    state = world.rollouts.get((stack, service))
    return state.rollout if state is not None else None


def wanted(spec: ServiceSpec, found: Iterable[Placed]) -> int:
    """Return how many copies there should be; of a global service the nodes decide."""
    if spec.is_stopped:
        return 0
    if spec.mode.is_global:
        return len({one.view.node for one in found if one.is_asked_for and not one.view.standby})
    return spec.replicas


def is_updated(one: Placed, spec: ServiceSpec) -> bool:
    """Say whether an allocation is ready or has ended well, and is what is asked for now."""
    return _serves(one) and is_fresh(one, spec)


def _serves(one: Placed) -> bool:
    return one.is_ready or one.is_complete


def is_fresh(one: Placed, spec: ServiceSpec) -> bool:
    """Say whether an allocation is as good as one of what is asked for now; any run of a job is."""
    if one.workload is None:
        return False
    return runs_alike(one.workload, msgspec.structs.replace(spec.workload, run=one.workload.run))


def _image(of: _Service, found: Sequence[Placed]) -> str:
    """Return the image that runs, or should: of an update that went back, the one before."""
    if of.rollout is not None and of.rollout.is_back:
        return of.rollout.spec.workload.image
    if of.spec is not None:
        return of.spec.workload.image
    return next((one.view.image for one in found if one.view.image), "")


def port_text(port: PublishedPort) -> str:
    """Return a published port as people write it, such as "8080->80/http", "53->53/udp host"."""
    where = " host" if port.is_host else ""
    return f"{port.published}->{port.target}/{port.protocol}{where}"


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
