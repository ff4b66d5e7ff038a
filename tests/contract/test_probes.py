"""Network probes on the real kernel: each case runs in a network namespace of its own."""

from pathlib import Path

import pytest

from tests.contract import probe_cases
from tests.contract.case import run_case

pytestmark = pytest.mark.real


@pytest.mark.parametrize("case", sorted(probe_cases.CASES))
def test_probes(case: str, tmp_path: Path) -> None:
    run_case("probe_cases", case, str(tmp_path))
