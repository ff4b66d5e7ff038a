"""The name server as its agent runs it: each case runs in a network namespace of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.contract import names_cases

pytestmark = pytest.mark.real


@pytest.mark.parametrize("case", sorted(names_cases.CASES))
def test_names(case: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *("unshare", "--net", "--mount", "--propagation", "private"),
            *("--pid", "--fork", "--kill-child", "--mount-proc"),
            *(sys.executable, "-m", "tests.contract.names_cases", case, str(tmp_path)),
        ],
        cwd=names_cases.ROOT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    log = tmp_path / "names" / "names.log"
    said = log.read_text() if log.exists() else ""
    assert done.returncode == 0, done.stdout + done.stderr + said
