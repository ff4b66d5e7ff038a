"""Network probes on the real kernel: each case runs in a network namespace of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract import probe_cases

pytestmark = pytest.mark.real


@pytest.mark.parametrize("case", sorted(probe_cases.CASES))
def test_probes(case: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *("unshare", "--net", "--mount", "--propagation", "private"),
            *(sys.executable, "-m", "tests.contract.probe_cases", case, str(tmp_path)),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
