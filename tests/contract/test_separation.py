"""Nodes that share a segment, on real kernels: each case has network namespaces of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract import healing_cases, separation_cases

pytestmark = pytest.mark.real


def run_case(module: str, case: str, mode: str, folder: Path) -> None:
    done = subprocess.run(
        [
            *("unshare", "--net", "--mount", "--propagation", "private"),
            *(sys.executable, "-m", f"tests.contract.{module}", case, mode, str(folder)),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("mode", sorted(separation_cases.MODES))
@pytest.mark.parametrize("case", sorted(separation_cases.CASES))
def test_separation(case: str, mode: str, tmp_path: Path) -> None:
    run_case("separation_cases", case, mode, tmp_path)


@pytest.mark.parametrize("mode", sorted(separation_cases.MODES))
@pytest.mark.parametrize("case", sorted(healing_cases.CASES))
def test_healing(case: str, mode: str, tmp_path: Path) -> None:
    run_case("healing_cases", case, mode, tmp_path)
