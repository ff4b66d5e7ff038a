"""Replay seeds and tell their stories: python -m tests.sim 7 [the name of a bug]."""

import sys

from tests.sim.bugs import Bug
from tests.sim.run import run_seed

if __name__ == "__main__":
    bug = Bug[sys.argv[2]] if len(sys.argv) > 2 else Bug.NONE
    print(run_seed(int(sys.argv[1]), bug))  # noqa: T201 - what it is for
