"""Volumes that people remove, and data that no record knows of."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.homes import named_volumes
from scheduler.removals import users_of
from scheduler.world import RemovalState, World
from shared import keys
from shared.model import Mode, NodeName, Removal, Revision, ServiceSpec, Silence
from tests.build import service
from tests.unit.scheduler.shops import Shop, with_volume
from tests.unit.scheduler.test_decide_settles import at

DATA = "shop_data"


def db(image: str = "db:1") -> ServiceSpec:
    return with_volume(service("db", image=image), DATA)


def replaced(shop: Shop, **fields: object) -> None:
    shop.world = msgspec.structs.replace(shop.world, **fields)


def wish(shop: Shop, given_up: str = "") -> None:
    """Do what the API does."""
    revision = Revision(shop.world.revision + 1)
    asked = RemovalState(Removal(name=DATA, given_up=NodeName(given_up)), revision)
    replaced(shop, removals={DATA: asked}, revision=revision)


def lose(shop: Shop, node: str) -> None:
    peers = {name: Silence.HOST for name in shop.world.nodes if name != node}
    shop.set_node(node, alive=False, suspected_by=peers)


def find(shop: Shop, node: str) -> None:
    shop.set_node(node, alive=True, suspected_by={})


def left_behind() -> tuple[Shop, str]:
    """Return a shop whose volume nobody uses any more, and the volume's node."""
    shop = Shop(service(), db())
    shop.rest()
    (home,) = shop.homes("db")
    shop.ask(service())
    shop.rest()
    assert shop.world.volumes[DATA].volume.node == home
    return shop, home


def reporting(world: World) -> list[str]:
    return [
        name
        for name, node in world.nodes.items()
        if node.report is not None and DATA in node.report.volumes
    ]


def kinds(shop: Shop) -> list[str]:
    return [event.kind for event in at(shop.now, shop.world, shop.memory).plan.events]


def check_nothing_leaves_that_is_used(shop: Shop) -> None:
    for node in shop.world.nodes.values():
        if node.manifest is None:
            continue
        used = {name for held in node.assignments for name in named_volumes(held.workload)}
        assert not used & {*node.manifest.leaving_volumes}
        for name in node.manifest.leaving_volumes:
            assert shop.world.volumes[name].volume.is_leaving


# ---------------------------------------------------------------- removing


def test_a_removed_volume_goes_from_its_nodes_disk_and_then_from_the_record() -> None:
    shop, home = left_behind()
    wish(shop)
    assert kinds(shop) == ["volume_leaving"]
    shop.step()
    assert shop.world.volumes[DATA].volume.is_leaving
    manifest = shop.world.nodes[NodeName(home)].manifest
    assert manifest is not None
    assert manifest.leaving_volumes == (DATA,)
    assert kinds(shop) == ["volume_removed"]
    shop.rest()
    assert reporting(shop.world) == []
    assert (shop.world.volumes, shop.world.removals) == ({}, {})
    assert not any(n.manifest.leaving_volumes for n in shop.world.nodes.values() if n.manifest)


def test_the_record_stays_until_the_node_has_seen_that_the_data_is_to_go() -> None:
    shop, home = left_behind()
    wish(shop)
    shop.disks[NodeName(home)].clear()  # as before the first container has made it
    shop.set_node(home, alive=False)  # its lease ends: it obeys nobody
    report = shop.world.nodes[NodeName(home)].report
    assert report is not None
    shop.set_node(home, report=msgspec.structs.replace(report, volumes=()))
    shop.steps(10)
    assert shop.world.volumes[DATA].volume.is_leaving
    find(shop, home)
    shop.rest()
    assert shop.world.volumes == {}


def test_a_record_that_a_leader_could_just_mark_is_not_the_node_being_told() -> None:
    shop, home = left_behind()
    state = shop.world.volumes[DATA]
    marked = msgspec.structs.replace(state.volume, is_leaving=True)
    replaced(shop, volumes={DATA: msgspec.structs.replace(state, volume=marked)})
    shop.disks[NodeName(home)].clear()  # its container was about to make it
    report = shop.world.nodes[NodeName(home)].report
    assert report is not None
    shop.set_node(home, report=msgspec.structs.replace(report, volumes=()))
    shop.step()
    assert DATA in shop.world.volumes
    shop.step()
    assert shop.world.volumes == {}


def test_a_deploy_meanwhile_keeps_the_volume_and_ends_the_wish_for_good() -> None:
    shop, home = left_behind()
    wish(shop)
    shop.ask(service(), db(), generation=3)
    shop.step()
    check_nothing_leaves_that_is_used(shop)
    assert not shop.world.volumes[DATA].volume.is_leaving
    shop.rest()
    assert shop.homes("db") == [home]
    assert shop.world.removals == {}
    shop.ask(service(), generation=4)
    shop.rest()
    assert reporting(shop.world) == [home], "an old wish takes nobody by surprise"


def test_what_leaves_is_made_anew_once_it_is_gone_and_not_before() -> None:
    shop, home = left_behind()
    shop.set_node(home, alive=False)
    wish(shop)
    shop.step()
    shop.ask(service(), db(), generation=3)
    shop.steps(20)
    assert shop.homes("db") == []
    (why,) = shop.memory.unplaced.values()
    assert why == (
        f"slot 1: volume {DATA} was removed: it is made anew once {home} has removed its data"
    )
    find(shop, home)
    for _ in range(40):
        shop.step()
        check_nothing_leaves_that_is_used(shop)
    assert len(shop.homes("db")) == 1
    assert not shop.world.volumes[DATA].volume.is_leaving


def test_a_global_service_does_not_begin_on_what_leaves() -> None:
    shop, home = left_behind()
    shop.set_node(home, alive=False)
    wish(shop)
    shop.step()
    everywhere = msgspec.structs.replace(with_volume(service("all"), DATA), mode=Mode.GLOBAL)
    shop.ask(service(), everywhere, generation=3)
    shop.steps(10)
    check_nothing_leaves_that_is_used(shop)
    assert shop.homes("all") == []
    find(shop, home)
    shop.rest()
    assert len(shop.homes("all")) == 3


def test_nothing_is_removed_while_a_stack_cannot_be_read() -> None:
    shop, _ = left_behind()
    wish(shop)
    replaced(shop, unreadable={keys.stack(shop.rollouts()[0].stack): "not JSON"})
    shop.steps(5)
    assert not shop.world.volumes[DATA].volume.is_leaving
    replaced(shop, unreadable={})
    shop.rest()
    assert shop.world.volumes == {}


def test_a_wish_for_what_is_not_there_ends() -> None:
    shop = Shop(service())
    shop.rest()
    wish(shop)
    shop.rest()
    assert shop.world.removals == {}


DEEDS = st.lists(st.sampled_from(["wish", "deploy", "undeploy", "lose", "find", "step"]))


@settings(max_examples=60, deadline=None)
@given(DEEDS)
def test_whatever_happens_in_whatever_order_no_used_data_is_removed_and_all_ends(
    deeds: list[str],
) -> None:
    shop, home = left_behind()
    generation, is_used = 2, False
    for deed in deeds:
        match deed:
            case "wish" if not users_of(
                shop.world, {n: s.assignments for n, s in shop.world.nodes.items()}, DATA
            ):
                wish(shop)
            case "deploy" | "undeploy":
                generation, is_used = generation + 1, deed == "deploy"
                shop.ask(service(), *([db()] if is_used else []), generation=generation)
            case "lose":
                lose(shop, home)
            case "find":
                find(shop, home)
            case _:
                shop.step()
                check_nothing_leaves_that_is_used(shop)
    find(shop, home)
    for _ in range(60):
        shop.step()
        check_nothing_leaves_that_is_used(shop)
    assert shop.world.removals == {}
    recorded = [state.volume.node for state in shop.world.volumes.values()]
    assert reporting(shop.world) == recorded, "data and record go together"
    assert shop.homes("db") == (recorded if is_used else [])


# ---------------------------------------------------------------- by force


def test_a_lost_nodes_volume_is_removed_by_force_and_made_anew_elsewhere() -> None:
    shop, home = left_behind()
    lose(shop, home)
    shop.steps(5)
    wish(shop, given_up=home)
    shop.steps(5)
    assert shop.world.volumes == {}
    shop.ask(service(), db(), generation=3)
    shop.rest()
    (anew,) = shop.homes("db")
    assert anew != home
    find(shop, home)
    shop.rest()
    assert shop.homes("db") == [anew]
    assert sorted(reporting(shop.world)) == sorted([anew, home]), "nobody removes a stranger"
    assert shop.world.volumes[DATA].volume.node == anew


def test_force_does_not_take_away_what_runs() -> None:
    shop = Shop(db())
    shop.rest()
    (home,) = shop.homes("db")
    wish(shop, given_up=home)
    shop.rest()
    assert (shop.world.volumes[DATA].volume.node, shop.world.removals) == (home, {})


def test_a_stopped_services_data_is_copied_by_hand_and_the_service_goes_there() -> None:
    shop = Shop(db())
    shop.rest()
    (home,) = shop.homes("db")
    shop.ask(msgspec.structs.replace(db(), is_stopped=True))
    shop.rest()
    other = next(name for name in shop.world.nodes if name != home)
    shop.disks[other].add(DATA)
    wish(shop, given_up=home)
    shop.rest()
    shop.ask(db(), generation=3)
    shop.rest()
    assert shop.homes("db") == [other]


def test_force_ends_the_leaving_of_what_a_lost_node_cannot_remove() -> None:
    shop, home = left_behind()
    lose(shop, home)
    wish(shop)
    shop.steps(5)
    assert shop.world.volumes[DATA].volume.is_leaving
    wish(shop, given_up=home)
    shop.steps(5)
    assert shop.world.volumes == {}
    find(shop, home)
    shop.rest()
    assert reporting(shop.world) == [home]


# ---------------------------------------------------------------- without a record


@settings(max_examples=30, deadline=None)
@given(nodes=st.integers(1, 6), data=st.data())
def test_a_service_goes_where_the_only_data_is_that_no_record_knows(
    nodes: int, data: st.DataObject
) -> None:
    shop = Shop(service(replicas=3), nodes=nodes)
    shop.rest()
    home = data.draw(st.sampled_from(sorted(shop.world.nodes)))
    shop.disks[home].add(DATA)
    shop.step()
    shop.ask(service(replicas=3), db())
    shop.rest()
    assert shop.homes("db") == [home]
    assert shop.world.volumes[DATA].volume.node == home


def test_data_of_a_lost_node_that_no_record_knows_is_waited_for() -> None:
    shop, home = left_behind()
    replaced(shop, volumes={})
    lose(shop, home)
    shop.ask(service(), db(), generation=3)
    shop.steps(10)
    assert shop.homes("db") == []
    assert f"{home}: has the data of its volume" in "".join(shop.memory.unplaced.values())


def test_two_nodes_with_data_that_no_record_knows_are_both_named() -> None:
    shop = Shop(service())
    shop.rest()
    for name in ("node-1", "node-3"):
        shop.disks[NodeName(name)].add(DATA)
    shop.step()
    shop.ask(service(), db())
    shop.steps(10)
    assert shop.homes("db") == []
    (why,) = shop.memory.unplaced.values()
    assert "node-1 and node-3 have data of volume shop_data" in why
    shop.disks[NodeName("node-1")].clear()
    shop.rest()
    assert shop.homes("db") == ["node-3"]


def test_the_data_of_a_global_service_is_nobodys_home() -> None:
    everywhere = msgspec.structs.replace(with_volume(service("all"), DATA), mode=Mode.GLOBAL)
    shop = Shop(everywhere)
    shop.rest()
    assert len(reporting(shop.world)) == 3
    shop.ask(everywhere, db())
    shop.rest()
    assert len(shop.homes("db")) == 1


def test_a_record_that_cannot_be_read_places_nothing() -> None:
    shop, _ = left_behind()
    replaced(shop, volumes={}, unreadable={keys.volume(DATA): "not JSON"})
    shop.ask(service(), db(), generation=3)
    shop.steps(5)
    assert shop.homes("db") == []
    assert "cannot be read" in "".join(shop.memory.unplaced.values())
