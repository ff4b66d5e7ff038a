"""A node's network on the real kernel: each case runs in a network namespace of its own."""

from pathlib import Path

import pytest

from tests.contract import network_cases
from tests.contract.case import run_case

pytestmark = pytest.mark.real


@pytest.mark.parametrize("case", sorted(network_cases.CASES))
def test_network(case: str, tmp_path: Path) -> None:
    run_case("network_cases", case, str(tmp_path))
