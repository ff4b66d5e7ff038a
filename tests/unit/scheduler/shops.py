"""Clusters for tests of whole services: their agents obey at once, and report what a test says."""

from collections.abc import Callable

import msgspec

from scheduler.homes import named_volumes
from scheduler.world import NodeState
from shared.model import (
    AllocationStatus,
    AllocId,
    Assignment,
    Dependency,
    DependsOn,
    EndpointState,
    Health,
    Mode,
    Mount,
    MountKind,
    NodeName,
    Rollout,
    RolloutPhase,
    ServiceName,
    ServiceSpec,
    Stack,
    StackName,
    Want,
)
from shared.states import AllocState
from tests.build import running, service, stack
from tests.unit.scheduler.test_decide_settles import Obedient, at

SHOP = StackName("shop")
# The longest update in a test: every slot waits for its monitor time, its delay and its drain.
STEPS_MAX = 400

Manner = Callable[[Assignment, float], AllocationStatus]


def well(held: Assignment, _age_s: float) -> AllocationStatus:
    """Run, and be ready; a standby is made."""
    status = running(held.id)
    if held.want is Want.STANDBY:
        return msgspec.structs.replace(status, state=AllocState.PREPARING, health=Health.STARTING)
    return status


def ended(held: Assignment, state: AllocState, code: int, reason: str = "") -> AllocationStatus:
    """Have ended, one way or another."""
    return AllocationStatus(id=held.id, state=state, exit_code=code, reason=reason)


class Shop(Obedient):
    """Nodes around one stack called shop; `manner` says what each copy does at which age."""

    def __init__(self, *first: ServiceSpec, nodes: int = 3, manner: Manner = well) -> None:
        super().__init__(nodes, [stack("shop", *first)] if first else [])
        self.manner = manner
        self.images_here: frozenset[str] | None = None  # None: all that are asked for
        self.missing_image = ""
        self.began: dict[AllocId, float] = {}
        self.disks: dict[NodeName, set[str]] = {name: set() for name in self.world.nodes}

    def ask(self, *specs: ServiceSpec, generation: int = 2) -> None:
        """Deploy the stack as these services."""
        self.deploy([stack("shop", *specs, generation=generation)])

    def ask_stack(self, asked: Stack) -> None:
        """Deploy the stack, word for word."""
        self.deploy([asked])

    def steps(self, count: int) -> None:
        """Let so many passes happen."""
        for _ in range(count):
            self.step()

    def rest(self) -> None:
        """Step until nothing is under way, or only a person can say how it goes on."""
        for _ in range(STEPS_MAX):
            wrote = self.step()
            if not wrote and all(map(_rests, self.rollouts())):
                return
        raise AssertionError(f"it does not end: {self.rollouts()}")

    def rollouts(self) -> list[Rollout]:
        """Return the records of all updates."""
        return [state.rollout for state in self.world.rollouts.values()]

    def rollout(self, name: str = "web") -> Rollout:
        """Return the record of one service's update."""
        return self.world.rollouts[SHOP, ServiceName(name)].rollout

    def phase(self, name: str = "web") -> RolloutPhase:
        """Return where one service's update is."""
        return self.rollout(name).phase

    def held(self, name: str = "web") -> list[Assignment]:
        """Return a service's assignments by slot."""
        found = [a for each in self.world.nodes.values() for a in each.assignments]
        return sorted((a for a in found if a.service == name), key=lambda a: (a.slot, a.id))

    def homes(self, name: str = "web") -> list[str]:
        """Return the nodes of a service's assignments, sorted; one that has two is there twice."""
        return sorted(
            node
            for node, each in self.world.nodes.items()
            for a in each.assignments
            if a.service == name
        )

    def waiting(self) -> set[str]:
        """Return why slots are left as they are."""
        found = at(self.now, self.world, self.memory).waiting
        return {sentence for sentences in found.values() for sentence in sentences}

    def routed(self, name: str = "web") -> set[AllocId]:
        """Return the copies that gateways send to."""
        state = self.world.routes.get(SHOP)
        found = state.routes.services if state is not None else ()
        return {
            endpoint.allocation
            for each in found
            if each.service == name
            for endpoint in each.endpoints
            if endpoint.state is EndpointState.READY
        }

    def images(self, ids: set[AllocId], name: str = "web") -> set[str]:
        """Return what these copies are made of."""
        return {a.workload.image for a in self.held(name) if a.id in ids}

    def set_node(self, name: str, **fields: object) -> None:
        """Change what is known of a node."""
        node = NodeName(name)
        changed = msgspec.structs.replace(self.world.nodes[node], **fields)
        self.world = msgspec.structs.replace(self.world, nodes={**self.world.nodes, node: changed})

    def _acted(self) -> dict[NodeName, NodeState]:
        acted = {}
        for name, state in super()._acted().items():
            assert state.report is not None
            report = state.report
            if state.alive:
                report = msgspec.structs.replace(
                    report,
                    manifest_generation=state.manifest.generation if state.manifest else 0,
                    volumes=self._volumes(name, state),
                    allocations=tuple(map(self._status, state.assignments)),
                    images=self._present(state),
                    missing_images={self.missing_image: "no such image"},
                )
            acted[name] = msgspec.structs.replace(state, report=report)
        return acted

    def _volumes(self, node: NodeName, state: NodeState) -> tuple[str, ...]:
        """Keep what containers made, whoever wrote to it, until it is to leave."""
        disk = self.disks[node]
        disk |= {volume for held in state.assignments for volume in named_volumes(held.workload)}
        disk -= {*state.manifest.leaving_volumes} if state.manifest is not None else set()
        return tuple(sorted(disk))

    def _present(self, state: NodeState) -> tuple[str, ...]:
        asked = state.manifest.images if state.manifest is not None else ()
        here = self.images_here
        return asked if here is None else tuple(image for image in asked if image in here)

    def _status(self, held: Assignment) -> AllocationStatus:
        since = self.began.setdefault(held.id, self.now)
        return self.manner(held, self.now - since)


def _rests(update: Rollout) -> bool:
    waits = update.phase in {RolloutPhase.PAUSED, RolloutPhase.FAILED}
    auto_s = update.target.update.auto_promote_s
    return update.is_settled or waits or (update.phase is RolloutPhase.CANARY and auto_s is None)


def depending(spec: ServiceSpec, on: str, condition: DependsOn) -> ServiceSpec:
    """Return the service, waiting for another one."""
    dependency = Dependency(service=ServiceName(on), condition=condition)
    return msgspec.structs.replace(spec, depends_on=(*spec.depends_on, dependency))


def job(name: str = "job", replicas: int = 1, image: str = "job:1", **said: object) -> ServiceSpec:
    """Return a job."""
    made = service(name, replicas=replicas, image=image)
    return msgspec.structs.replace(made, mode=Mode.REPLICATED_JOB, **said)


def with_volume(spec: ServiceSpec, volume: str, *, read_only: bool = False) -> ServiceSpec:
    """Return the service with a named volume."""
    mount = Mount(kind=MountKind.VOLUME, source=volume, target="/data", read_only=read_only)
    workload = msgspec.structs.replace(spec.workload, mounts=(mount,))
    return msgspec.structs.replace(spec, workload=workload)
