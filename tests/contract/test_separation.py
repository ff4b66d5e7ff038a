"""Nodes that share a segment, on real kernels: each case has network namespaces of its own."""

from pathlib import Path

import pytest

from tests.contract import healing_cases, look_cases, separation_cases
from tests.contract.case import run_case

pytestmark = pytest.mark.real


@pytest.mark.parametrize("mode", sorted(separation_cases.MODES))
@pytest.mark.parametrize("case", sorted(separation_cases.CASES))
def test_separation(case: str, mode: str, tmp_path: Path) -> None:
    run_case("separation_cases", case, mode, str(tmp_path), timeout_s=280)


@pytest.mark.parametrize("mode", sorted(separation_cases.MODES))
@pytest.mark.parametrize("case", sorted(healing_cases.CASES))
def test_healing(case: str, mode: str, tmp_path: Path) -> None:
    run_case("healing_cases", case, mode, str(tmp_path), timeout_s=280)


@pytest.mark.parametrize("mode", sorted(separation_cases.MODES))
@pytest.mark.parametrize("case", sorted(look_cases.CASES))
def test_between_looks(case: str, mode: str, tmp_path: Path) -> None:
    run_case("look_cases", case, mode, str(tmp_path), timeout_s=280)


@pytest.mark.parametrize("case", sorted(healing_cases.VXLAN_CASES))
def test_healing_of_vxlan(case: str, tmp_path: Path) -> None:
    run_case("healing_cases", case, "vxlan", str(tmp_path), timeout_s=280)
