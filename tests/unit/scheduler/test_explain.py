"""Why slots and standbys have no node, in the words of what places them."""

import msgspec
import pytest

from scheduler.explain import explain
from shared.model import ServiceName, StackName
from shared.timing import PROFILES
from tests.build import assignment, node, running, service, stack, world

WEB, SHOP = ServiceName("web"), StackName("shop")


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_slots_without_a_node_are_explained_one_by_one(profile: str) -> None:
    seen = world([], [stack("shop", service(replicas=2)), stack("blog", service())])
    found = explain(seen, SHOP, PROFILES[profile])

    assert [sentence.partition(":")[0] for sentence in found.slots[WEB]] == ["slot 1", "slot 2"]
    assert found.standbys == {}
    assert set(found.slots) == {WEB}


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_a_standby_without_a_node_is_no_slot(profile: str) -> None:
    web = msgspec.structs.replace(service(), standby=1)
    one = assignment("shop.web.1.a", web.workload)
    seen = world([node("node-1", one, statuses=[running(one.id)])], [stack("shop", web)])
    found = explain(seen, SHOP, PROFILES[profile])

    assert found.slots == {}
    (sentence,) = found.standbys[WEB]
    assert sentence.startswith("standby: ")
    assert "node-1" in sentence
