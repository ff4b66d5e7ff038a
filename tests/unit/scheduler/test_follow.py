"""What stays although its service has changed has an assignment that says what it is now."""

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.model import (
    AllocId,
    Assignment,
    Joined,
    Protocol,
    PublishedPort,
    PullPolicy,
    Stack,
    Want,
)
from tests.build import service, stack
from tests.unit.scheduler.test_decide_settles import Obedient

FRONT, BACK = Joined(network="shop_front"), Joined(network="shop_back", aliases=("db",))
PORT = PublishedPort(published=8080, target=80)


def shop(generation: int = 1, standby: int = 0, **fields: Any) -> Stack:
    """Return a stack with two replicas of a workload with these fields."""
    spec = service(replicas=2)
    workload = msgspec.structs.replace(spec.workload, **{"networks": (FRONT,), **fields})
    spec = msgspec.structs.replace(spec, workload=workload, standby=standby)
    return stack("shop", spec, generation=generation)


def held(cluster: Obedient) -> dict[AllocId, Assignment]:
    """Return all that nodes should run."""
    return {one.id: one for node in cluster.world.nodes.values() for one in node.assignments}


def settled(cluster: Obedient) -> dict[AllocId, Assignment]:
    """Let the cluster come to rest; return all that nodes should run then."""
    cluster.settle()
    return held(cluster)


@pytest.mark.parametrize(
    "fields",
    [
        {"networks": (BACK,)},
        {"networks": ()},
        {"networks": (msgspec.structs.replace(FRONT, aliases=("x",)),)},
        {"labels": {"a": "b"}},
        {"pull": PullPolicy.ALWAYS},
        {"ports": (PublishedPort(published=53, target=53, protocol=Protocol.UDP),)},
    ],
)
def test_what_is_not_inside_a_container_replaces_none(fields: dict[str, Any]) -> None:
    cluster = Obedient(3, [shop(standby=1)])
    before = settled(cluster)
    cluster.deploy([shop(2, standby=1, **fields)])
    after = settled(cluster)
    assert after.keys() == before.keys()
    wanted = shop(2, **fields).services[0].workload
    assert {one.workload for one in after.values() if one.workload != wanted} == set()
    assert {one.want for one in after.values()} == {Want.RUN, Want.STANDBY}
    # All but the workload is as it was placed.
    assert {
        id_: msgspec.structs.replace(one, workload=before[id_].workload)
        for id_, one in after.items()
    } == before


@pytest.mark.parametrize(
    "fields",
    [
        {"network_mode": "host", "networks": ()},
        {"networks": (msgspec.structs.replace(FRONT, address="172.20.0.9"),)},
        {"ports": (msgspec.structs.replace(PORT, is_host=True),)},
        {"image": "app:2", "networks": (BACK,)},
    ],
)
def test_what_is_inside_or_where_it_is_replaces_all(fields: dict[str, Any]) -> None:
    cluster = Obedient(3, [shop()])
    before = settled(cluster)
    cluster.deploy([shop(2, **fields)])
    after = settled(cluster)
    assert len(after) == len(before)
    assert not after.keys() & before.keys()


def test_during_an_update_the_old_replica_has_its_own_networks() -> None:
    cluster = Obedient(3, [shop()])
    settled(cluster)
    cluster.deploy([shop(2, image="app:2", networks=(BACK,))])
    seen = set()
    for _ in range(60):
        cluster.step()
        seen |= {(one.workload.image, one.workload.networks) for one in held(cluster).values()}
    assert seen == {("app:1", (FRONT,)), ("app:2", (BACK,))}


FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "image": st.sampled_from(["app:1", "app:2"]),
        "networks": st.sampled_from([(FRONT,), (BACK,), (FRONT, BACK), ()]),
        "labels": st.sampled_from([{}, {"a": "b"}]),
        "ports": st.sampled_from([(), (PORT,)]),
    },
)


@settings(max_examples=25)
@given(st.lists(FIELDS, min_size=1, max_size=3), st.integers(0, 1))
def test_in_the_end_everything_says_what_was_asked_last(
    histories: list[dict[str, Any]], standby: int
) -> None:
    cluster = Obedient(3, [shop(standby=standby)])
    for generation, fields in enumerate(histories, start=2):
        for _ in range(3):
            cluster.step()
        cluster.deploy([shop(generation, standby, **fields)])
    wanted = shop(2, standby, **histories[-1]).services[0].workload
    assert [one.workload for one in settled(cluster).values()] == [wanted] * (2 + standby)
    assert not cluster.step()
