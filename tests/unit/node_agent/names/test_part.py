"""What the agent tells its name server, and when."""

from node_agent.names.names import NamesStatus
from node_agent.names.part import NamesPart
from node_agent.names.snapshot import Snapshot
from node_agent.views import RoutesView
from shared import codec, keys
from shared.model import AllocId, Manifest, NodeName, Revision, Routes, StackName
from shared.store import KeyValue
from shared.store import Snapshot as Listed
from shared.view import View
from tests.build import assignment, running
from tests.build_names import POOL, POOL6, POOLS, VIPS, replica, routes, service

SHOP = StackName("shop")


class FakeNames:
    """Implements Names: keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[Snapshot] = []
        self.status = NamesStatus()

    async def apply(self, snapshot: Snapshot) -> NamesStatus:
        self.told.append(snapshot)
        return self.status


class Rig:
    """The part with what is around it."""

    def __init__(self) -> None:
        self.names, self.view, self.changes = FakeNames(), View(lambda: None), 0
        self.part = NamesPart(self.names, POOLS, RoutesView(self.view), self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def list(self, revision: int, *stacks: Routes) -> None:
        items = tuple(
            KeyValue(
                key=f"{keys.ROUTES}{each.stack}",
                value=codec.encode(each),
                create_revision=Revision(1),
                mod_revision=Revision(revision),
            )
            for each in stacks
        )
        self.view.replace(Listed(items, Revision(revision)))


async def test_nothing_is_told_before_etcd_was_read() -> None:
    rig = Rig()
    await rig.part.one_pass()
    assert rig.names.told == []
    assert rig.part.acked(SHOP) == 0


async def test_routes_are_told_whole_and_then_acknowledged() -> None:
    rig, shop = Rig(), routes("shop", service("web", replica("shop.web.1.a", "198.19.1.2")))
    rig.list(7, shop)
    await rig.part.one_pass()
    assert rig.names.told == [Snapshot(pool=POOL, vips=VIPS, pool6=POOL6, routes=(shop,))]
    assert (rig.part.acked(SHOP), rig.changes) == (7, 1)
    rig.list(8)
    await rig.part.one_pass()
    assert rig.names.told[-1] == Snapshot(pool=POOL, vips=VIPS, pool6=POOL6)
    assert (rig.part.acked(SHOP), rig.changes) == (0, 2)


async def test_this_nodes_containers_are_told_too() -> None:
    rig = Rig()
    rig.list(7)
    manifest = Manifest(
        node=NodeName("node-1"), generation=1, assignments=(assignment("shop.web.1.a"),)
    )
    rig.part.look((running(AllocId("shop.web.1.a"), "198.19.1.2"),), manifest)
    await rig.part.one_pass()
    assert [each.addresses for each in rig.names.told[-1].containers] == [("198.19.1.2",)]


async def test_a_name_server_that_does_not_answer_is_a_problem_and_holds_up_nothing() -> None:
    rig = Rig()
    rig.list(7, routes("shop"))
    rig.names.status = NamesStatus(problems=("it is silent",))
    await rig.part.one_pass()
    assert (rig.part.problems, rig.part.acked(SHOP), rig.changes) == (("it is silent",), 7, 1)
    await rig.part.one_pass()
    assert rig.changes == 1, "what was reported is not reported again"
    rig.names.status = NamesStatus()
    await rig.part.one_pass()
    assert (rig.part.problems, rig.changes) == ((), 2)
