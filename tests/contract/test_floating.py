"""Floating addresses on the real kernel: each case is a host on a segment in namespaces."""

from pathlib import Path

import pytest

from tests.contract import floating_cases
from tests.contract.case import run_case

pytestmark = pytest.mark.real


@pytest.mark.parametrize("case", sorted(floating_cases.CASES))
def test_floating(case: str, tmp_path: Path) -> None:
    run_case("floating_cases", case, str(tmp_path))
