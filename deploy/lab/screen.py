"""Shows pictures of a demo to a person: redrawn in place on a terminal, as lines elsewhere."""

from types import TracebackType
from typing import Protocol, Self

import click
from rich.console import Console
from rich.live import Live

from deploy.lab.view import Picture, changes, render


class Screen(Protocol):
    """Where a demo is shown, inside a `with`."""

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was found."""
        ...

    def show(self, picture: Picture) -> None:
        """Show `picture` instead of the one before."""
        ...


class TerminalScreen:
    """One picture, drawn over the one before."""

    def __init__(self, console: Console) -> None:
        # Drawn when something is shown: a thread of rich's own would draw between our lines.
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        """Hide the cursor and begin to draw."""
        self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wipe the picture and give the cursor back."""
        self._live.stop()

    def show(self, picture: Picture) -> None:
        """Draw `picture`."""
        self._live.update(render(picture), refresh=True)


class LineScreen:
    """A line on standard error for each change, with the seconds since the demo began."""

    def __init__(self) -> None:
        self._last = Picture(phase="")

    def __enter__(self) -> Self:
        """Write nothing yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave what was written."""

    def show(self, picture: Picture) -> None:
        """Write what is different."""
        for line in changes(self._last, picture):
            click.echo(f"{picture.elapsed_s:6.1f} s  {line}", err=True)
        self._last = picture


def open_screen() -> Screen:
    """Return the screen that suits standard error, where a person looks while a result is piped."""
    console = Console(stderr=True)
    return TerminalScreen(console) if console.is_terminal else LineScreen()
