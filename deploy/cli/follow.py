"""Commands that show what happens: logs, events."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Final
from zlib import crc32

import click

from deploy.cli.connect import Connection
from deploy.cli.listing import json_option
from deploy.render import as_json, event_line, log_line
from shared.api import LogEntry
from shared.errors import SpecError

if TYPE_CHECKING:  # it brings an HTTP client along, and --help must not wait for that
    from deploy.client import ApiClient

_PALETTE: Final = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green")
_ID_DOTS: Final = 3


@click.command()
@click.argument("whose", metavar="STACK|SERVICE|STACK.SERVICE|ALLOCATION")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until interrupted.")
@click.option(
    "-n", "--tail", type=click.IntRange(min=0, max=100_000), help="Only the last lines of each."
)
@json_option
@click.pass_obj
def logs(
    connection: Connection, whose: str, tail: int | None, *, follow: bool, is_json: bool
) -> None:
    """Show what the containers of a service write, wherever they run.

    A node that does not answer is a remark on standard error, not the end of it.
    """
    named = parse_whose(whose)

    async def show(client: "ApiClient") -> None:
        async with aclosing(client.logs(**named, follow=follow, tail=tail)) as entries:
            async for entry in entries:
                show_entry(entry, is_json=is_json)

    connection.run(show)


def parse_whose(text: str) -> dict[str, str]:
    """Return what SERVICE, STACK.SERVICE, an allocation's id or its beginning ask the API for.

    Raises:
        SpecError: it has another number of parts.
    """
    dots = text.count(".")
    if not text or dots > _ID_DOTS:
        raise SpecError(
            f"{text}: write SERVICE, STACK.SERVICE, STACK.SERVICE.SLOT or an allocation as "
            "`hafen ps` has"
        )
    if dots == 0:
        return {"service": text}
    if dots == 1:
        stack, _, service = text.partition(".")
        return {"stack": stack, "service": service}
    return {"allocation": text}


def show_entry(entry: LogEntry, *, is_json: bool) -> None:
    """Print one line of a container, or a remark about one on standard error."""
    if is_json:
        click.echo(as_json(entry))
    elif entry.stream == "hafen":
        click.echo(f"hafen: {entry.allocation}: {entry.text}", err=True)
    else:
        prefix, bar, text = log_line(entry).partition(" | ")
        colour = _PALETTE[crc32(entry.allocation.encode()) % len(_PALETTE)]
        click.echo(click.style(prefix + bar, fg=colour) + text)


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with new ones until interrupted.")
@json_option
@click.pass_obj
def events(connection: Connection, *, follow: bool, is_json: bool) -> None:
    """Show the cluster's story: which node was lost, what was placed where, and why."""

    async def show(client: "ApiClient") -> None:
        async with aclosing(client.events(follow=follow)) as story:
            async for event in story:
                click.echo(as_json(event) if is_json else event_line(event))

    connection.run(show)
