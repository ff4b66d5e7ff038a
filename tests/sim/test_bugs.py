"""The simulation finds each planted bug; without it the same seeds pass."""

from typing import Final

import pytest

from tests.sim.bugs import Bug
from tests.sim.run import run_many, run_seed

# How many seeds each bug may hide from. They run without a bug in test_sim as well.
SEEDS_MAX: Final = 200
# Where the search begins: before it, seeds with this bug only take long to come to no rest.
FIRST: Final = {Bug.NO_CLAIM: 24, Bug.LATE_WATCH: 16}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("bug", [bug for bug in Bug if bug is not Bug.NONE])
def test_a_planted_bug_is_found(bug: Bug) -> None:
    # What a scheduler never sees breaks nothing at once; all else must break a promise.
    kind = "AssertionError" if bug is Bug.LATE_WATCH else "SafetyError"
    first = FIRST.get(bug, 0)
    outcomes = run_many(range(first, first + SEEDS_MAX), bug)
    found = next((each for each in outcomes if each.error.startswith(kind)), None)
    outcomes.close()
    assert found is not None, f"{SEEDS_MAX} seeds passed though {bug}"
    print(f"{bug}: found by seed {found.seed}: {found.error}")  # noqa: T201
    assert not run_seed(found.seed).error, "without the bug it is well"
