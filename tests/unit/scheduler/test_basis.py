"""What the leader passes over: words that no decision goes by, and time that changes none."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.basis import basis_of
from scheduler.world import NodeState, World
from shared.model import AllocId, NodeName, Revision, StackName
from tests.unit.scheduler.test_decide_settles import at
from tests.unit.scheduler.test_histories import EVENTS, NAMES, Cluster, shop

SHARES = st.floats(min_value=0.0, max_value=0.99)


def _said(state: NodeState, revision: int) -> NodeState:
    report = state.report
    if report is not None:
        report = msgspec.structs.replace(
            report,
            acked={StackName("shop"): Revision(revision)},
            busy=(AllocId("shop.web.9.z"),),
            problems=("something",),
            segments=("198.18.0.0/24",),
        )
    return msgspec.structs.replace(
        state, report=report, report_revision=Revision(revision), trouble="something"
    )


def _talk(world: World, revision: int) -> World:
    """Let every node say something new that is not about what it runs."""
    nodes = {name: _said(state, revision) for name, state in world.nodes.items()}
    return msgspec.structs.replace(world, revision=Revision(revision), nodes=nodes)


@given(EVENTS, st.integers(1, 3), st.booleans(), SHARES)
@settings(max_examples=150)
def test_a_settled_decision_stands_until_its_time_whatever_else_is_said(
    events: list[tuple[str, NodeName]],
    replicas: int,
    exclusive: bool,  # noqa: FBT001 - drawn
    share: float,
) -> None:
    cluster = Cluster(shop("app:1", replicas, 1, exclusive=exclusive))
    for number, (what, name) in enumerate([("wait", NAMES[0])] * 4 + events):
        if what == "update":
            cluster.deploy([shop(f"app:{number}", replicas, 1, exclusive=exclusive)])
        cluster.happen(what, name)
        cluster.step()
        before, memory = cluster.world, cluster.memory
        decision = at(cluster.now, before, memory)
        plan = decision.plan
        if plan.writes or plan.events or decision.memory != memory:
            continue
        later = _talk(before, before.revision + 1)
        if basis_of(later) != basis_of(before):
            continue
        now = cluster.now + share * max(plan.wake_in_s - 0.001, 0.0)
        again = at(now, later, memory)
        assert (again.plan.writes, again.plan.events) == ((), ())
