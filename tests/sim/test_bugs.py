"""The simulation finds each planted bug; without it the same seeds pass."""

from typing import Final

import pytest

from tests.sim.bugs import RESTLESS, Bug
from tests.sim.run import run_many, run_seed

# How many seeds each bug may hide from. They run without a bug in test_sim as well.
SEEDS_MAX: Final = 400


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("bug", [bug for bug in Bug if bug is not Bug.NONE])
def test_a_planted_bug_is_found(bug: Bug) -> None:
    kind = "AssertionError" if bug in RESTLESS else "SafetyError"
    outcomes = run_many(range(SEEDS_MAX), bug)
    found = next((each for each in outcomes if each.error.startswith(kind)), None)
    outcomes.close()
    assert found is not None, f"{SEEDS_MAX} seeds passed though {bug}"
    print(f"{bug}: found by seed {found.seed}: {found.error}")  # noqa: T201
    assert not run_seed(found.seed).error, "without the bug it is well"
