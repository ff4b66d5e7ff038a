"""What the pages of docs/ show as Compose files are ones."""

import re
from pathlib import Path

import pytest

from tests.unit.deploy.compose.given import services

DOCS = Path(__file__).parents[4] / "docs"
_BLOCK = re.compile(r"^```yaml(?: networks)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHOWN = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in sorted(DOCS.glob("*.md"))
    for number, block in enumerate(_BLOCK.findall(page.read_text(encoding="utf-8")))
]


@pytest.mark.parametrize("text", SHOWN)
def test_a_file_of_the_pages_is_understood(text: str) -> None:
    assert services(text)
