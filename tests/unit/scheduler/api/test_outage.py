"""What `hafen status` says does not work now."""

import msgspec
import pytest

from scheduler.api.outage import outages
from shared.api import ClusterView, EtcdMemberView, NodeView, ServiceView
from shared.model import NodeName, Revision, ServiceName, StackName

WEB = ServiceView(
    stack=StackName("shop"),
    service=ServiceName("web"),
    image="app:1",
    replicas=2,
    ready=1,
    updated=1,
)
MEMBERS = tuple(EtcdMemberView(endpoint=f"m{n}:2379", version="3.5.33") for n in (1, 2, 3))
GONE = EtcdMemberView(endpoint="m9:2379", problem="refused", answers=False)
LEADERLESS = EtcdMemberView(endpoint="m8:2379", problem="etcdserver: no leader")
GO_ON = "; containers and traffic go on"
NOT_REPLACED = "a host that is lost now is not replaced until etcd is back"


def node(number: int, state: str = "ready", reason: str = "") -> NodeView:
    name = NodeName(f"node-{number}")
    return NodeView(name=name, state=state, address=f"192.0.2.{number}", reason=reason)


WELL = ClusterView(
    etcd_reachable=True,
    leader=NodeName("node-1"),
    revision=Revision(7),
    nodes=tuple(node(n) for n in (1, 2, 3)),
    stacks=1,
    replicas_wanted=2,
    replicas_ready=1,
    members=MEMBERS,
    services=(WEB,),
)


def said(**changes: object) -> tuple[str, ...]:
    return outages(msgspec.structs.replace(WELL, **changes))


def test_where_all_works_nothing_is_said() -> None:
    assert said() == ()


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ((MEMBERS[0], GONE, GONE), "etcd has no quorum (1 of 3 members answer)"),
        ((LEADERLESS, GONE, GONE), "etcd has no quorum (1 of 3 members answer)"),
        ((GONE, GONE, GONE), "etcd has no quorum (0 of 3 members answer)"),
        ((*MEMBERS[:2], GONE, GONE), "etcd has no quorum (2 of 4 members answer)"),
        ((LEADERLESS, LEADERLESS, GONE), "etcd has no leader (etcdserver: no leader)"),
        ((LEADERLESS, MEMBERS[0], GONE), "etcd does not answer this host in time"),
        (MEMBERS, "etcd does not answer this host in time"),
    ],
)
def test_why_no_change_is_accepted(members: tuple[EtcdMemberView, ...], why: str) -> None:
    found = said(etcd_reachable=False, members=members)

    assert found == (f"no change is accepted: {why}{GO_ON}", NOT_REPLACED)


def test_exclusive_work_is_spoken_of_only_where_there_is_some() -> None:
    lone = msgspec.structs.replace(WEB, exclusive=True)

    (said_of_it,) = set(said(etcd_reachable=False, services=(lone,))) - set(
        said(etcd_reachable=False)
    )

    assert said_of_it.startswith("exclusive services end, unless every other node")
    assert said(services=(lone,)) == ()


def test_nobody_leads() -> None:
    assert said(leader=NodeName(""), leaderless_s=3.2) == (
        "nothing is placed or replaced: nobody leads since 3 s",
    )


def test_nodes_that_are_given_up_are_named_with_the_reason() -> None:
    nodes = (node(1), node(2, "unreachable", "node-1 misses it"), node(3, "lost"))

    assert said(nodes=nodes) == ("node-2 is unreachable: node-1 misses it", "node-3 is lost")


@pytest.mark.parametrize(("silent", "is_said"), [(1, False), (2, True), (3, True)])
def test_half_of_the_nodes_silent_at_once_is_an_outage_of_replacing(
    silent: int, *, is_said: bool
) -> None:
    nodes = tuple(node(n, "suspect" if n <= silent else "ready") for n in (1, 2, 3, 4))

    assert bool(said(nodes=nodes)) is is_said


@pytest.mark.parametrize(
    ("replicas", "ready", "waiting", "found"),
    [
        (2, 1, (), ()),
        (0, 0, (), ()),
        (2, 0, (), ("shop.web has no replica that answers",)),
        (1, 0, ("it waits", "so"), ("shop.web has no replica that answers: it waits; so",)),
    ],
)
def test_services_without_any_replica_are_named(
    replicas: int, ready: int, waiting: tuple[str, ...], found: tuple[str, ...]
) -> None:
    one = msgspec.structs.replace(WEB, replicas=replicas, ready=ready, waiting=waiting)

    assert said(services=(one,)) == found
