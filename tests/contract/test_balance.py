"""Balancing in the real kernel of several nodes: each case has namespaces of its own."""

from pathlib import Path

import pytest

from tests.contract import balance_cases
from tests.contract.case import run_case

pytestmark = pytest.mark.real


@pytest.mark.parametrize("case", sorted(balance_cases.CASES))
def test_balance(case: str, tmp_path: Path) -> None:
    run_case("balance_cases", case, str(tmp_path))
