"""How a name server's process begins."""

from pathlib import Path

import pytest

from node_agent.names.serve import alone
from shared.errors import HostError


def test_of_two_that_begin_one_waits_for_the_other(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with alone(path), pytest.raises(HostError, match="held by a name server"), alone(path, 0.0):
        pytest.fail("two began at once")
    with alone(path, 0.0):
        pass
