"""A node's gateway on real HAProxy: each case runs in a network namespace of its own."""

from pathlib import Path

import pytest

from tests.contract import gateway_cases
from tests.contract.case import run_case
from tests.forked import Apart

pytestmark = pytest.mark.real


@pytest.mark.parametrize("case", sorted(gateway_cases.CASES))
def test_gateway(case: str, tmp_path: Path) -> None:
    said = run_case("gateway_cases", case, str(tmp_path), apart=Apart.PROCESSES)
    print(said)  # noqa: T201 - what it measured: pytest -rP
