"""A node's gateway on real HAProxy: each case runs in a network namespace of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract import gateway_cases

pytestmark = pytest.mark.real


@pytest.mark.parametrize("case", sorted(gateway_cases.CASES))
def test_gateway(case: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
            *("tini", "-s", "--", sys.executable, "-m", "tests.contract.gateway_cases"),
            *(case, str(tmp_path)),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    if done.stdout.startswith("skipped: "):
        pytest.skip(done.stdout.strip())
