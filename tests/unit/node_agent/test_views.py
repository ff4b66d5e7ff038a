"""What an agent reads: its manifest, routes, and networks."""

from collections.abc import Mapping

from structlog.testing import capture_logs

from node_agent.views import Complaints, Kept, ManifestView, RoutesView, other_networks
from shared import codec, keys
from shared.errors import CodecError
from shared.model import Manifest, Network, NodeName, Revision, Routes, StackName
from shared.store import Batch, Change, KeyValue, Snapshot
from shared.view import View

ME, SHOP = NodeName("node-1"), StackName("shop")


def item(key: str, value: bytes, revision: int) -> KeyValue:
    return KeyValue(key, value, Revision(revision), Revision(revision))


def listed(view: View, *items: KeyValue, revision: int) -> None:
    view.replace(Snapshot(items, Revision(revision)))


def test_networks_that_no_stack_makes_are_read_and_garbage_is_left_out() -> None:
    wan = Network(name="wan", internal=True)
    view = View(lambda: None)
    records = {"wan": codec.encode(wan), "torn": b"{"}
    items = [item(keys.network(name), value, 1) for name, value in records.items()]
    listed(view, *items, revision=1)
    assert other_networks(view.items) == (wan,)


def test_a_manifest_is_read_once_and_another_one_of_the_same_revision_all_the_same() -> None:
    first, second = (Manifest(node=ME, generation=number) for number in (1, 2))
    view = View(lambda: None)
    manifest = ManifestView(view, ME, None)
    listed(view, item(keys.desired(ME), codec.encode(first), 5), revision=5)
    assert manifest.read() == first
    assert manifest.read() is manifest.read()
    # The store was lost and filled anew: it counts from 1 again.
    listed(view, item(keys.desired(ME), codec.encode(second), 5), revision=5)
    assert manifest.read() == second


def test_a_manifest_that_cannot_be_read_is_a_problem_at_every_look_until_it_can() -> None:
    good = Manifest(node=ME, generation=1)
    view = View(lambda: None)
    manifest = ManifestView(view, ME, None)
    listed(view, item(keys.desired(ME), codec.encode(good), 1), revision=1)
    assert (manifest.read(), manifest.problem) == (good, "")
    listed(view, item(keys.desired(ME), b"{", 2), revision=2)
    for _ in range(2):
        assert manifest.read() == good
        assert "the manifest before is kept" in manifest.problem
    listed(view, item(keys.desired(ME), codec.encode(good), 3), revision=3)
    assert (manifest.read(), manifest.problem) == (good, "")


def test_routes_are_the_same_object_until_one_of_them_changes() -> None:
    view = View(lambda: None)
    routes = RoutesView(view)
    assert routes.read() is None
    listed(view, revision=1)
    assert routes.read() == {}
    shop = item(keys.routes(SHOP), codec.encode(Routes(stack=SHOP)), 2)
    view.apply(Batch((Change(shop.key, shop),), Revision(2)))
    before = routes.read()
    assert before == {SHOP: (2, Routes(stack=SHOP))}
    assert routes.read() is before
    view.apply(Batch((Change(shop.key, None),), Revision(3)))
    assert routes.read() == {}


def test_routes_that_cannot_be_read_stay_and_are_a_problem_at_every_look_until_they_can() -> None:
    blog, good = StackName("blog"), codec.encode(Routes(stack=SHOP))
    view = View(lambda: None)
    routes = RoutesView(view)
    torn = item(keys.routes(blog), b"{", 1)
    listed(view, item(keys.routes(SHOP), good, 1), torn, revision=1)
    before = routes.read()
    assert before == {SHOP: (1, Routes(stack=SHOP))}, "of one that never could there is nothing"
    listed(view, item(keys.routes(SHOP), b"{", 2), revision=2)
    for _ in range(2):
        assert routes.read() == before
        (problem,) = routes.problems
        assert problem.endswith("; the routes before are kept")
    listed(view, item(keys.routes(SHOP), good, 3), revision=3)
    assert routes.read() == {SHOP: (3, Routes(stack=SHOP))}
    assert routes.problems == ()


def test_routes_of_a_store_that_counts_from_one_again_are_read_and_a_list_changes_none() -> None:
    first = Routes(stack=SHOP)
    second = Routes(stack=SHOP, networks=(Network(name="wan"),))
    view = View(lambda: None)
    routes = RoutesView(view)
    listed(view, item(keys.routes(SHOP), codec.encode(first), 5), revision=5)
    before = routes.read()
    listed(view, item(keys.routes(SHOP), codec.encode(first), 5), revision=6)
    assert routes.read() is before
    listed(view, item(keys.routes(SHOP), codec.encode(second), 5), revision=5)
    assert routes.read() == {SHOP: (5, second)}


def test_of_a_record_that_cannot_be_read_is_said_once_that_it_cannot() -> None:
    complaints, error = Complaints(), CodecError(keys.routes(SHOP), "no JSON")
    with capture_logs() as logged:
        for revision in (1, 1, 2, 2):
            complaints.say(item(keys.routes(SHOP), b"{", revision), error)
    assert [one["key"] for one in logged] == [keys.routes(SHOP)] * 2, "the second is another"


def test_what_follows_from_a_range_is_found_anew_when_something_in_it_changes() -> None:
    view, looks = View(lambda: None), []

    def names(items: Mapping[str, KeyValue]) -> list[str]:
        looks.append(len(items))
        return sorted(items)

    kept = Kept(view, keys.NETWORKS, names)
    assert kept.now() == []
    wan, mine = item(keys.network("wan"), b"{}", 1), item(keys.desired(ME), b"{}", 2)
    listed(view, wan, revision=1)
    assert kept.now() == [wan.key]
    view.apply(Batch((Change(mine.key, mine),), Revision(2)))
    assert kept.now() == [wan.key]
    assert looks == [0, 1], "a change elsewhere is no reason to look"
    view.apply(Batch((Change(wan.key, None),), Revision(3)))
    assert kept.now() == []
