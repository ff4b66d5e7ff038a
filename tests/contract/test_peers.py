"""Peers on the real kernel: each case runs in a network namespace of its own."""

from pathlib import Path

import pytest

from tests.contract import peers_cases
from tests.contract.case import run_case

pytestmark = pytest.mark.real


@pytest.mark.parametrize("case", sorted(peers_cases.CASES))
def test_peers(case: str, tmp_path: Path) -> None:
    run_case("peers_cases", case, str(tmp_path))
