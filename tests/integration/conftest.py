"""The files that take longest come first: the last one to begin says when several workers end."""

from pathlib import Path
from typing import Final

import pytest

# In the order of their length; all others take less than half a minute.
_LONGEST: Final = (
    "test_floating.py",
    "test_service_deploys.py",
    "test_service_data.py",
    "test_cluster.py",
    "test_net_doctor.py",
    "test_service_jobs.py",
    "test_service_upkeep.py",
    "test_lab.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _rank(item.path))


def _rank(file: Path) -> int:
    """Return a file's place; who is not named comes last, in the order of collection."""
    return _LONGEST.index(file.name) if file.name in _LONGEST else len(_LONGEST)
