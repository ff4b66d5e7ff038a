"""Whatever happens in whatever order: a slot keeps one ready replica, and all ends well."""

from collections import Counter

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.world import NodeState
from shared.model import (
    AllocationStatus,
    AllocId,
    FailureAction,
    Health,
    NodeName,
    RolloutPhase,
    Silence,
    Stack,
    Want,
)
from shared.states import AllocState
from tests.build import service, stack
from tests.unit.scheduler.test_decide_settles import Obedient

NAMES = [NodeName(f"node-{number}") for number in range(1, 5)]


def shop(
    image: str,
    replicas: int,
    standby: int,
    *,
    exclusive: bool,
    action: FailureAction = FailureAction.ROLLBACK,
) -> Stack:
    spec = service(image=image, replicas=replicas, port=8080)
    policy = msgspec.structs.replace(spec.update, failure_action=action)
    spec = msgspec.structs.replace(spec, update=policy)
    held = msgspec.structs.replace(spec.workload, exclusive=exclusive)
    return stack("shop", msgspec.structs.replace(spec, workload=held, standby=standby))


class Cluster(Obedient):
    """Its nodes fall silent, come back, act late or not at all, and lose what they run."""

    def __init__(self, first: Stack) -> None:
        super().__init__(len(NAMES), [first])
        self.idle: set[NodeName] = set()
        self.failed: set[AllocId] = set()

    def happen(self, what: str, name: NodeName) -> None:
        state = self.world.nodes[name]
        match what:
            case "cut":
                peers = dict.fromkeys((n for n in NAMES if n != name), Silence.HOST)
                self._set(state, suspected_by=peers)
                self.idle.add(name)
            case "lose":
                self._set(state, alive=False)
                self.idle.add(name)
            case "back":
                self._set(state, alive=True, suspected_by={})
                self.idle.discard(name)
            case "stall":
                self.idle.add(name)
            case "fail":
                self.failed |= {a.id for a in state.assignments}
            case _:
                assert what in {"update", "wait"}

    def _set(self, state: NodeState, **fields: object) -> None:
        changed = msgspec.structs.replace(state, **fields)
        self.world = msgspec.structs.replace(
            self.world, nodes={**self.world.nodes, state.spec.name: changed}
        )

    def _acted(self) -> dict[NodeName, NodeState]:
        self.check()
        return {
            name: self._failing(state) if name not in self.idle else self.world.nodes[name]
            for name, state in super()._acted().items()
        }

    def _failing(self, state: NodeState) -> NodeState:
        assert state.report is not None
        statuses = tuple(
            AllocationStatus(id=each.id, state=AllocState.FAILED, health=Health.UNHEALTHY)
            if each.id in self.failed
            else each
            for each in state.report.allocations
        )
        report = msgspec.structs.replace(state.report, allocations=statuses)
        return msgspec.structs.replace(state, report=report)

    def check(self) -> None:
        """The plan is written and nobody has acted on it: this is what the leader meant."""
        kept = Counter(
            (a.service, a.slot)
            for name, state in self.world.nodes.items()
            for a in state.assignments
            if a.want is Want.RUN and name not in self.memory.nodes.given_up
            if _is_ready(state, a.id)
        )
        assert max(kept.values(), default=0) <= 1, kept


def _is_ready(state: NodeState, id_: AllocId) -> bool:
    assert state.report is not None
    return any(
        each.id == id_ and each.state is AllocState.RUNNING and each.health is Health.HEALTHY
        for each in state.report.allocations
    )


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["cut", "cut", "lose", "back", "back", "stall", "fail", "update", "wait"]),
        st.sampled_from(NAMES),
    ),
    max_size=12,
)


@settings(max_examples=150)
@given(EVENTS, st.integers(1, 3), st.integers(0, 1), st.booleans())
def test_of_a_slot_s_ready_replicas_one_is_kept_and_in_the_end_there_is_one(
    events: list[tuple[str, NodeName]],
    replicas: int,
    standby: int,
    exclusive: bool,  # noqa: FBT001 - drawn
) -> None:
    now = shop("app:1", replicas, standby, exclusive=exclusive)
    cluster = Cluster(now)
    cluster.settle()
    for number, (what, name) in enumerate(events, 2):
        if what == "update":
            now = shop(f"app:{number}", replicas, standby, exclusive=exclusive)
            cluster.deploy([now])
        cluster.happen(what, name)
        cluster.step()

    for name in NAMES:
        cluster.happen("back", name)
    # Who is back acts at the end of a step, and what is tried again waits: a quiet pass is no end.
    for _ in range(10):
        cluster.settle()
    found = sorted(
        (a.slot, a.workload.image)
        for state in cluster.world.nodes.values()
        for a in state.assignments
        if a.want is not Want.STANDBY
    )
    (update,) = (state.rollout for state in cluster.world.rollouts.values())
    assert update.is_settled, update
    assert update.phase is RolloutPhase.DONE or cluster.failed, update
    assert update.target == now.services[0]
    image = update.spec.workload.image
    assert found == [(slot, image) for slot in range(1, replicas + 1)]


def test_a_host_that_is_back_during_an_update_leaves_one_old_replica_not_two() -> None:
    cluster = Cluster(shop("app:1", 1, 0, exclusive=False))
    cluster.settle()
    (home,) = [name for name, state in cluster.world.nodes.items() if state.assignments]
    cluster.happen("cut", home)
    cluster.step()
    cluster.step()
    cluster.happen("back", home)
    cluster.deploy([shop("app:2", 1, 0, exclusive=False)])
    cluster.step()
    held = [a for state in cluster.world.nodes.values() for a in state.assignments]
    old = sorted((a.want, a.epoch) for a in held if a.workload.image == "app:1")
    assert [want for want, _ in old] == [Want.DRAIN, Want.RUN]
    assert old[1][1] < old[0][1], "the one with the longer life stays"


def test_an_update_that_failed_is_tried_again_while_the_old_one_serves() -> None:
    cluster = Cluster(shop("app:1", 1, 0, exclusive=False))
    cluster.settle()
    cluster.deploy([shop("app:2", 1, 0, exclusive=False, action=FailureAction.CONTINUE)])
    cluster.idle = set(NAMES)
    cluster.step()
    for name in NAMES:
        new = [a for a in cluster.world.nodes[name].assignments if a.workload.image == "app:2"]
        cluster.failed |= {a.id for a in new}
    cluster.idle.clear()
    for _ in range(10):
        cluster.step()
    (held,) = [a for state in cluster.world.nodes.values() for a in state.assignments]
    assert (held.workload.image, held.attempt) == ("app:2", 1)
