"""Printing: plain aligned text in a pipe, colours on a terminal; progress on standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import click

from deploy.render import Table, plain
from deploy.render_change import live_lines, progress_lines
from shared.api import StackProgress

_COLOURS: Final = {
    "ok": "green",
    "warn": "yellow",
    "fail": "red",
    "ready": "green",
    "healthy": "green",
    "starting": "yellow",
    "preparing": "yellow",
    "pending": "yellow",
    "draining": "yellow",
    "suspect": "yellow",
    "cordoned": "yellow",
    "unhealthy": "red",
    "failed": "red",
    "lost": "red",
    "unreachable": "red",
    "probation": "yellow",
    "standby": "cyan",
    "standby pending": "yellow",
    "standby preparing": "yellow",
    "standby failed": "red",
}


def print_table(table: Table) -> None:
    """Print a table for whoever reads standard output."""
    if not sys.stdout.isatty():
        click.echo("\n".join(plain(table)))
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, and a pipe needs none of it
    from rich.table import Table as RichTable  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    shown = RichTable(box=None, header_style="bold", pad_edge=False)
    for column in table.columns:
        shown.add_column(
            column.title, justify="right" if column.is_number else "left", overflow="fold"
        )
    for row in table.rows:
        # Text, not markup: what people named their services must not be read as colours.
        shown.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in row))
    Console().print(shown)


Show = Callable[[StackProgress], None]


@contextmanager
def progress_shown() -> Iterator[Show]:
    """Give a function that shows progress: alive on a terminal, otherwise a line per change."""
    if not sys.stderr.isatty():
        yield _Lines().show
        return
    from rich.console import Console  # noqa: PLC0415 - slow to import, and a pipe needs none of it
    from rich.live import Live  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    with Live(console=Console(stderr=True), transient=True) as live:
        yield lambda now: live.update(Text("\n".join(live_lines(now))))


class _Lines:
    """Prints a line for each service that is not where it was."""

    def __init__(self) -> None:
        self._before: StackProgress | None = None

    def show(self, now: StackProgress) -> None:
        """Print what changed."""
        for line in progress_lines(self._before, now):
            click.echo(line, err=True)
        self._before = now
