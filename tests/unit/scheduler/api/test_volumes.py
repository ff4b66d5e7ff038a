"""Named volumes as people see them, and when one may be removed."""

from collections.abc import Sequence

import msgspec
import pytest

from scheduler.api.volumes import removal, volumes
from scheduler.nodes import Judged
from scheduler.world import NodeState, RemovalState, VolumeState, World
from shared import keys
from shared.errors import NotFoundError, SpecError
from shared.model import Mode, NodeName, Removal, Revision, RolloutPhase, ServiceSpec, Volume
from tests.unit.scheduler.api import build
from tests.unit.scheduler.shops import with_volume

NODE_1, NODE_2 = NodeName("node-1"), NodeName("node-2")
DATA = "shop_data"


def db() -> ServiceSpec:
    return with_volume(build.spec("db"), DATA)


def holding(number: int, *names: str, runs: Sequence[ServiceSpec] = ()) -> NodeState:
    held = [build.assignment(one) for one in runs]
    node = build.node(number, held, [build.status(one) for one in held])
    assert node.report is not None
    report = msgspec.structs.replace(node.report, volumes=names)
    return msgspec.structs.replace(node, report=report)


def recorded(seen: World, *made: Volume) -> World:
    return msgspec.structs.replace(
        seen, volumes={one.name: VolumeState(one, Revision(4)) for one in made}
    )


def volume(name: str = DATA, node: NodeName = NODE_1, *, is_leaving: bool = False) -> Volume:
    return Volume(name=name, node=node, stack=build.SHOP, is_leaving=is_leaving)


def rows(seen: World) -> list[tuple[str, ...]]:
    shown = volumes(seen, Judged(verdicts=build.judged(seen))).volumes
    return [
        (one.name, one.node, one.stack, " ".join(one.used_by), one.problem, str(one.is_leaving))
        for one in shown
    ]


def test_volumes_are_listed_with_who_uses_them_and_what_no_record_knows() -> None:
    nodes = holding(1, DATA, runs=[db()]), holding(2, DATA, "a_stray")
    seen = recorded(build.world(*nodes, stacks=[build.stack(db())]), volume())
    assert rows(seen) == [
        ("a_stray", "node-2", "", "", "no record", "False"),
        (DATA, "node-1", "shop", "shop.db", "", "False"),
        (DATA, "node-2", "", "", "no record", "False"),
    ]


def test_a_global_services_data_is_no_stranger_where_it_runs() -> None:
    agent = msgspec.structs.replace(db(), mode=Mode.GLOBAL)
    seen = build.world(holding(1, DATA, runs=[agent]), stacks=[build.stack(agent)])
    assert rows(seen) == [(DATA, "node-1", "", "shop.db", "", "False")]


def test_a_volume_says_what_is_the_matter_with_its_node() -> None:
    away = msgspec.structs.replace(holding(2, "b"), alive=False)
    made = volume("a"), volume("b", NODE_2, is_leaving=True), volume("c", NodeName("node-9"))
    seen = recorded(build.world(holding(1), away), *made)
    assert [(row[0], row[4], row[5]) for row in rows(seen)] == [
        ("a", "no data yet", "False"),
        ("b", "node-2 is suspect", "True"),
        ("c", "there is no node node-9 any more", "False"),
    ]


def test_a_wish_is_seen_before_the_leader_has_acted_on_it() -> None:
    seen = recorded(build.world(holding(1, DATA)), volume())
    wish = RemovalState(Removal(name=DATA), Revision(5))
    assert rows(msgspec.structs.replace(seen, removals={DATA: wish}))[0][5] == "True"


def test_what_nobody_uses_may_go_and_with_force_its_node_is_given_up() -> None:
    seen = recorded(build.world(holding(1, DATA)), volume())
    assert removal(seen, DATA, 7.0, is_forced=False) == Removal(name=DATA, at_s=7.0)
    assert removal(seen, DATA, 7.0, is_forced=True) == Removal(name=DATA, at_s=7.0, given_up=NODE_1)


@pytest.mark.parametrize("is_forced", [True, False])
def test_what_is_used_or_still_runs_may_not_go(is_forced: bool) -> None:  # noqa: FBT001 - a case
    asked = recorded(build.world(holding(1, DATA), stacks=[build.stack(db())]), volume())
    runs = recorded(build.world(holding(1, DATA, runs=[db()])), volume())
    for seen in (asked, runs):
        with pytest.raises(SpecError, match=r"volume shop_data is used by shop\.db"):
            removal(seen, DATA, 7.0, is_forced=is_forced)


def test_what_an_update_may_go_back_to_may_not_go() -> None:
    web = build.spec("db")
    rolling = msgspec.structs.replace(build.rollout(web, RolloutPhase.ROLLING), stable=db())
    nodes, stacks = holding(1, DATA), [build.stack(web)]
    seen = recorded(build.world(nodes, stacks=stacks, rollouts=[rolling]), volume())
    with pytest.raises(SpecError, match=r"shop\.db"):
        removal(seen, DATA, 7.0, is_forced=False)
    through = build.rollout(web, RolloutPhase.DONE)
    settled = recorded(build.world(nodes, stacks=stacks, rollouts=[through]), volume())
    assert removal(settled, DATA, 7.0, is_forced=False).name == DATA


def test_a_stopped_service_keeps_its_data_but_for_force() -> None:
    stopped = msgspec.structs.replace(db(), is_stopped=True)
    seen = recorded(build.world(holding(1, DATA), stacks=[build.stack(stopped)]), volume())
    with pytest.raises(SpecError, match="remove that first"):
        removal(seen, DATA, 7.0, is_forced=False)
    assert removal(seen, DATA, 7.0, is_forced=True).given_up == NODE_1


def test_what_no_record_knows_names_what_there_is() -> None:
    empty = build.world(holding(1))
    with pytest.raises(NotFoundError, match="there is none at all"):
        removal(empty, DATA, 7.0, is_forced=False)
    with pytest.raises(NotFoundError, match="there are: other"):
        removal(recorded(empty, volume("other")), DATA, 7.0, is_forced=True)
    broken = msgspec.structs.replace(empty, unreadable={keys.volume(DATA): "not JSON"})
    with pytest.raises(NotFoundError, match="cannot be read"):
        removal(broken, DATA, 7.0, is_forced=True)


def test_data_of_one_node_without_a_record_can_be_given_up_by_force_only() -> None:
    one, two = build.world(holding(1, DATA)), build.world(holding(1, DATA), holding(2, DATA))
    assert removal(one, DATA, 7.0, is_forced=True).given_up == NODE_1
    with pytest.raises(NotFoundError, match="node-1 has data of that name"):
        removal(one, DATA, 7.0, is_forced=False)
    with pytest.raises(NotFoundError, match="node-1, node-2"):
        removal(two, DATA, 7.0, is_forced=True)
