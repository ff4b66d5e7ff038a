"""The name server as its agent runs it: each case runs in a network namespace of its own."""

from pathlib import Path

import pytest

from tests.contract import names_cases
from tests.contract.case import run_case
from tests.forked import Apart

pytestmark = pytest.mark.real


@pytest.mark.parametrize("case", sorted(names_cases.CASES))
def test_names(case: str, tmp_path: Path) -> None:
    log = tmp_path / "names" / "names.log"
    apart = Apart.PROCESSES
    run_case("names_cases", case, str(tmp_path), apart=apart, log=log)
