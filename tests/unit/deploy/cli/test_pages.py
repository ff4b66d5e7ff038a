"""Every command that README.md and docs/ write out is one, with options that it has."""

import re
import shlex
from pathlib import Path

import click
import pytest

from deploy.cli.main import cli

ROOT = Path(__file__).parents[4]
_BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_TYPED = re.compile(r"^(?:\$ )?(hafen [a-z][^|\n]*)", re.MULTILINE)
_IN_PROSE = re.compile(r"`(hafen [a-z][^`|]*)")


def typed(page: str) -> set[str]:
    """Return the commands of a page."""
    blocks = [found for block in _BLOCK.findall(page) for found in _TYPED.findall(block)]
    return {*blocks, *_IN_PROSE.findall(_BLOCK.sub("", page))}


WRITTEN = sorted(
    {
        command.strip()
        for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
        for command in typed(page.read_text(encoding="utf-8"))
    }
)


@pytest.mark.parametrize("command", WRITTEN)
def test_a_command_of_the_pages_exists(command: str) -> None:
    _, *words = shlex.split(command, comments=True)
    found: click.Command = cli
    while isinstance(found, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        inner = found.get_command(click.Context(found), name)
        assert inner is not None, f"there is no {name}"
        found = inner
    known = {word for each in found.params for word in (*each.opts, *each.secondary_opts)}
    own = words[: words.index("--")] if "--" in words else words
    said = {word.strip("[]") for word in own if word.startswith(("-", "[-"))}
    assert said <= known, f"{found.name} has no {', '.join(sorted(said - known))}"
