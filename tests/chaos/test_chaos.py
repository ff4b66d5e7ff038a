"""A handful of drawn faults on a real lab; `make chaos` runs many more."""

import os

import pytest

from deploy.lab.ground import leftovers
from tests.chaos.draw import KINDS, draw
from tests.chaos.run import chaos

pytestmark = [pytest.mark.real, pytest.mark.alone, pytest.mark.timeout(1500)]

# Chosen for what they draw: every kind of fault, most of them long enough for a lease to end.
SEEDS = (3, 28, 31, 37)
NODES = 3


def test_the_seeds_draw_every_kind_of_fault() -> None:
    names = [f"node-{number}" for number in range(1, NODES + 1)]

    drawn = {fault.kind for seed in SEEDS for fault in draw(seed, names)}

    assert drawn == set(KINDS)


async def test_exclusive_work_never_runs_twice_and_everything_heals() -> None:
    name = f"t{os.getpid() % 100000}-c"

    done = await chaos(SEEDS, NODES, name=name)

    assert [each.line() for each in done if not each.is_good] == []
    assert leftovers(name) == []
