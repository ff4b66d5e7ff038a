"""A round of deletions by hand on a real lab; `make chaos-net` goes on for minutes."""

import os

import pytest

from deploy.lab.ground import leftovers
from tests.chaos.net import chaos
from tests.chaos.net_things import kinds_of

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(1500)]

SEED = 1
NODES = 3


async def test_each_kind_of_thing_is_back_and_only_those_who_need_it_miss_it() -> None:
    kinds = kinds_of("routed")
    name = f"t{os.getpid() % 100000}-n"

    verdict = await chaos(SEED, NODES, lambda count: count == len(kinds), name=name)

    assert verdict.bad() == []
    assert {each.kind for each in verdict.deleted} == set(kinds)
    assert leftovers(name) == []
