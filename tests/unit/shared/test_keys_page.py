"""docs/architecture.md has every key of shared/keys.py, in its order and with its record."""

import re
from pathlib import Path

from shared import keys

PAGE = Path(__file__).parents[3] / "docs" / "architecture.md"
# What leads to a key, and its record; the page spells out what the code has no room for.
_IN_CODE = re.compile(r"^ {6}(\w+)\S*\s+(\w+)", re.MULTILINE)
_ON_PAGE = re.compile(r"^\| `(\w+)\S*` \| (\w+)", re.MULTILINE)


def test_the_table_is_that_of_the_code() -> None:
    _, _, page = PAGE.read_text(encoding="utf-8").partition("\n## Keys\n")
    written = _ON_PAGE.findall(page)
    assert written == _IN_CODE.findall(keys.__doc__ or "")
