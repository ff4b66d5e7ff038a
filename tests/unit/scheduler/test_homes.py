"""Services that are bound to nodes: one copy on each, or where the data of their volume is."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.model import Constraint, Mode, Placement, RolloutPhase, ServiceSpec, Silence, Want
from tests.build import service
from tests.unit.scheduler.shops import Shop, with_volume

NODES = st.integers(1, 6)


def agent(image: str = "app:1") -> ServiceSpec:
    return msgspec.structs.replace(service(image=image, port=8080), mode=Mode.GLOBAL)


@settings(max_examples=30)
@given(NODES)
def test_a_global_service_has_one_copy_on_every_node_before_and_after_an_update(
    nodes: int,
) -> None:
    shop = Shop(agent(), nodes=nodes)
    shop.rest()
    names = sorted(f"node-{number}" for number in range(1, nodes + 1))
    assert shop.homes() == names
    shop.ask(agent("app:2"))
    for _ in range(100):
        shop.step()
        assert len(shop.routed()) >= nodes
    assert shop.homes() == names
    assert {a.workload.image for a in shop.held()} == {"app:2"}


def test_a_global_service_is_not_moved_from_a_lost_node_and_is_there_again_with_it() -> None:
    shop = Shop(agent())
    shop.rest()
    shop.set_node("node-2", alive=False)
    shop.steps(10)
    assert shop.homes() == ["node-1", "node-3"]
    shop.set_node("node-2", alive=True)
    shop.rest()
    assert shop.homes() == ["node-1", "node-2", "node-3"]


def test_a_global_service_goes_only_where_its_constraints_allow() -> None:
    where = Placement(constraints=(Constraint(key="node.hostname", value="node-2"),))
    shop = Shop(msgspec.structs.replace(agent(), placement=where))
    shop.rest()
    assert shop.homes() == ["node-2"]
    shop.ask(agent())
    shop.rest()
    assert shop.homes() == ["node-1", "node-2", "node-3"]


def test_services_that_share_a_volume_are_where_its_data_is() -> None:
    shop = Shop(
        with_volume(service("db"), "shop_data"),
        with_volume(service("web", replicas=2), "shop_data", read_only=True),
    )
    shop.rest()
    assert len({*shop.homes("db"), *shop.homes("web")}) == 1
    assert shop.world.volumes["shop_data"].volume.node == shop.homes("db")[0]


def test_data_is_not_left_behind_when_its_node_is_lost_and_the_reason_is_told() -> None:
    shop = Shop(with_volume(service(), "shop_data"))
    shop.rest()
    (home,) = shop.homes()
    peers = {n: Silence.HOST for n in shop.world.nodes if n != home}
    shop.set_node(home, alive=False, suspected_by=peers)
    shop.steps(10)
    assert shop.homes() == [home], "it waits for its data"
    (why,) = shop.memory.unplaced.values()
    assert f"{home}: has the data of its volume" in why
    shop.set_node(home, alive=True, suspected_by={})
    shop.rest()
    assert shop.homes() == [home]


def test_two_that_write_to_one_volume_are_never_there_at_once() -> None:
    shop = Shop(with_volume(service(), "shop_data"))
    shop.rest()
    shop.ask(with_volume(service(image="app:2"), "shop_data"))
    seen = set()
    for _ in range(40):
        shop.step()
        wanted = [a for a in shop.held() if a.want in {Want.RUN, Want.DRAIN}]
        assert len(wanted) <= 1
        seen |= {a.workload.image for a in wanted}
    assert seen == {"app:1", "app:2"}
    assert shop.phase() is RolloutPhase.DONE


def test_what_serves_is_not_stopped_before_the_next_image_is_there() -> None:
    shop = Shop(with_volume(service(), "shop_data"))
    shop.rest()
    shop.images_here = frozenset({"app:1"})
    shop.ask(with_volume(service(image="app:2"), "shop_data"))
    shop.steps(10)
    assert {a.workload.image for a in shop.held()} == {"app:1"}
    (home,) = shop.homes()
    manifest = next(n.manifest for name, n in shop.world.nodes.items() if name == home)
    assert manifest is not None
    assert "app:2" in manifest.images
    shop.missing_image = "app:2"
    shop.rest()
    assert shop.phase() is RolloutPhase.ROLLED_BACK
    assert "no such image" in shop.rollout().reason


def test_another_constraint_moves_what_no_longer_meets_it_start_first() -> None:
    shop = Shop(service(replicas=2, port=8080))
    shop.rest()
    assert len(set(shop.homes())) == 2
    where = Placement(constraints=(Constraint(key="node.hostname", value="node-3"),))
    kept = {a.id for n, each in shop.world.nodes.items() if n == "node-3" for a in each.assignments}
    shop.ask(msgspec.structs.replace(service(replicas=2, port=8080), placement=where))
    for _ in range(60):
        shop.step()
        assert len(shop.routed()) >= 2
    assert set(shop.homes()) == {"node-3"}
    assert kept <= {a.id for a in shop.held()}, "what meets it already stays"
