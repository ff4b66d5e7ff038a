"""Members of etcd on other hosts: each case runs in network namespaces of its own."""

from pathlib import Path

import pytest

from tests.contract import members_cases
from tests.contract.case import run_case

pytestmark = pytest.mark.real


@pytest.mark.parametrize("case", sorted(members_cases.CASES))
def test_members(case: str, tmp_path: Path) -> None:
    run_case("members_cases", case, str(tmp_path))
