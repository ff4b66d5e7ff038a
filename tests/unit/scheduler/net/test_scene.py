"""Which container speaks for its node, which services have a way in, and who is shown where."""

import msgspec

from scheduler.net.scene import scene_of
from scheduler.net.show import net_view
from scheduler.world import NetworkState, World
from shared.model import (
    AllocId,
    Assignment,
    Endpoint,
    EndpointState,
    Joined,
    Network,
    NodeName,
    PublishedPort,
    Revision,
    Routes,
    ServiceName,
    ServiceRoutes,
    StackName,
    Workload,
)
from tests.build import assignment, node, running, service, stack, workload, world

FRONT, BACK = Joined(network="shop_front", aliases=("www",)), Joined(network="shop_back")
PORT = PublishedPort(published=8080, target=80)


def on(*joined: Joined, mode: str = "", port: bool = False) -> Workload:
    made = workload(port=8080 if port else 0)
    return msgspec.structs.replace(made, networks=joined, network_mode=mode)


def shop(*nodes: tuple[str, tuple[Assignment, ...]], vip: str = "") -> World:
    """Return a world where everything that is assigned runs, and web.* is ready."""
    spec = service("web")
    spec = msgspec.structs.replace(spec, workload=on(FRONT, BACK, port=True))
    db = msgspec.structs.replace(service("db"), workload=on(BACK))
    plain = service("plain")
    made = stack("shop", spec, db, plain)
    made = msgspec.structs.replace(
        made, networks=(Network(name="shop_back", internal=True), Network(name="shop_front"))
    )
    states = [
        node(
            name,
            *assigned,
            statuses=[
                running(one.id, f"198.19.{name[-1]}.{number}")
                for number, one in enumerate(assigned, 2)
            ],
        )
        for name, assigned in nodes
    ]
    endpoints = tuple(
        Endpoint(
            allocation=one.id,
            node=NodeName(name),
            address=f"198.19.{name[-1]}.2",
            state=EndpointState.READY,
        )
        for name, assigned in nodes
        for one in assigned
        if one.service == "web"
    )
    routes = Routes(
        stack=StackName("shop"),
        services=(
            ServiceRoutes(
                service=ServiceName("web"),
                ports=(PORT,),
                endpoints=endpoints,
                networks=(FRONT, BACK),
                vip=vip,
            ),
        ),
        networks=made.networks,
    )
    return world(states, [made], [routes])


WEB_1 = assignment("shop.web.1.a", on(FRONT, BACK, port=True))
WEB_2 = assignment("shop.web.2.a", on(FRONT, BACK, port=True))
DB = assignment("shop.db.1.a", on(BACK))
HOST = assignment("shop.host.1.a", on(mode="host"))
PLAIN = assignment("shop.plain.1.a", on())


def test_samples_share_a_network_where_they_can() -> None:
    found = scene_of(shop(("node-1", (PLAIN, WEB_1)), ("node-2", (DB,)), ("node-3", (HOST,))))
    assert {name: sample.id for name, sample in found.samples.items()} == {
        "node-1": AllocId("shop.web.1.a"),
        "node-2": AllocId("shop.db.1.a"),
    }
    web, db = found.samples[NodeName("node-1")], found.samples[NodeName("node-2")]
    assert web.shares(db.networks)
    # The database is on an internal network only.
    assert (web.has_egress, db.has_egress) == (True, False)
    assert (web.tcp_port, db.tcp_port) == (80, 0)
    assert [spec.name for spec in found.nodes] == ["node-1", "node-2", "node-3"]


def test_services_with_a_way_in_and_where_their_replicas_are() -> None:
    found = scene_of(shop(("node-1", (WEB_1,)), ("node-2", (WEB_2,)), vip="198.19.255.1"))
    (target,) = found.targets
    assert (target.name, target.vip, target.homes) == (
        "shop.web",
        "198.19.255.1",
        frozenset({"node-1", "node-2"}),
    )
    # Without a ready replica nothing can answer, and nothing is asked.
    assert scene_of(shop(("node-1", ()))).targets == ()
    assert scene_of(World()).nodes == ()


def test_who_may_talk_to_whom() -> None:
    view = net_view(shop(("node-1", (WEB_1, DB, PLAIN)), ("node-2", (WEB_2,)), vip="198.19.255.1"))
    assert [(one.name, one.internal) for one in view.networks] == [
        ("", False),
        ("shop_back", True),
        ("shop_front", False),
    ]
    on_them = {one.name: [member.service for member in one.members] for one in view.networks}
    assert on_them == {
        "": ["shop.plain"],
        "shop_back": ["shop.db", "shop.web"],
        "shop_front": ["shop.web"],
    }
    (web,) = view.networks[2].members
    assert web.names == ("www",)
    assert web.addresses == {"shop.web.1.a": "198.19.1.2", "shop.web.2.a": "198.19.2.2"}
    assert [(one.service, one.vip, len(one.endpoints)) for one in view.services] == [
        ("shop.db", "", 0),
        ("shop.plain", "", 0),
        ("shop.web", "198.19.255.1", 2),
    ]
    assert [(one.service, one.published) for one in view.entries] == [("shop.web", 8080)]


def test_a_network_made_by_a_command_counts_as_it_was_made() -> None:
    vault = Network(name="vault", internal=True, subnet="172.20.0.0/24")
    only = assignment("shop.db.1.a", on(Joined(network="vault")))
    known = msgspec.structs.replace(
        shop(("node-1", (only,))), networks={"vault": NetworkState(vault, Revision(3))}
    )
    assert not scene_of(known).samples[NodeName("node-1")].has_egress
    (shown,) = (one for one in net_view(known).networks if one.name == "vault")
    assert (shown.internal, shown.subnet, shown.members) == (True, "172.20.0.0/24", ())


def test_a_network_that_nobody_makes_any_more_is_what_routes_say() -> None:
    """What still runs on it stays closed in; its stack's routes keep it until then."""
    gone = shop(("node-1", (DB,)))
    gone = msgspec.structs.replace(gone, stacks={})
    assert not scene_of(gone).samples[NodeName("node-1")].has_egress
