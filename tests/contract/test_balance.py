"""Balancing in the real kernel of several nodes: each case has namespaces of its own."""

from pathlib import Path

import pytest

from tests.contract import balance_cases
from tests.contract.balance_rig import FAMILIES
from tests.contract.case import run_case

pytestmark = pytest.mark.real


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("case", sorted(balance_cases.CASES))
def test_balance(case: str, family: str, tmp_path: Path) -> None:
    run_case("balance_cases", case, family, str(tmp_path))
