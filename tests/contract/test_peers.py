"""Peers on the real kernel: each case runs in a network namespace of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract import peers_cases

pytestmark = pytest.mark.real


@pytest.mark.parametrize("case", sorted(peers_cases.CASES))
def test_peers(case: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *("unshare", "--net", "--mount", "--propagation", "private"),
            *(sys.executable, "-m", "tests.contract.peers_cases", case, str(tmp_path)),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
