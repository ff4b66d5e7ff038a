"""Commands that show what happens: logs, events."""

from collections.abc import Mapping
from contextlib import aclosing
from math import ceil
from typing import TYPE_CHECKING, Final
from zlib import crc32

import click

from deploy.cli.connect import Connection
from deploy.cli.listing import json_option
from deploy.compose.units import duration_s
from deploy.render import as_json, event_line, log_line
from deploy.render_edge import access_line
from shared.api import LogEntry
from shared.errors import SpecError
from shared.limits import TAIL_MAX

if TYPE_CHECKING:  # it brings an HTTP client along, and --help must not wait for that
    from deploy.client import ApiClient

_PALETTE: Final = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green")
_ID_DOTS: Final = 3


@click.command()
@click.argument("whose", metavar="STACK|SERVICE|STACK.SERVICE|ALLOCATION")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until interrupted.")
@click.option(
    "-n", "--tail", type=click.IntRange(min=0, max=TAIL_MAX), help="Only the last lines of each."
)
@click.option(
    "--access",
    is_flag=True,
    help="Show requests that gateways carried to it, of all nodes, in order of time; `-n` counts "
    "those of each node. It must have `x-hafen: access_log: true`.",
)
@click.option(
    "--since", metavar="DURATION", help="With --access: only what was over less than 10m, 2h ago."
)
@json_option
@click.pass_obj
def logs(  # noqa: PLR0913 - each is an option
    connection: Connection,
    whose: str,
    tail: int | None,
    since: str | None,
    *,
    follow: bool,
    access: bool,
    is_json: bool,
) -> None:
    """Show what the containers of a service write, wherever they run.

    A node that does not answer is a remark on standard error, not the end of it.
    """
    named = parse_whose(whose)
    ago_s = _ago_s(since)
    if access:
        _show_access(connection, named, ago_s, tail, follow=follow, is_json=is_json)
        return
    if ago_s is not None:
        raise SpecError("--since is for --access; of containers `-n` shows the last lines")

    async def show(client: "ApiClient") -> None:
        async with aclosing(client.logs(**named, follow=follow, tail=tail)) as entries:
            async for entry in entries:
                show_entry(entry, is_json=is_json)

    connection.run(show)


def _ago_s(since: str | None) -> int | None:
    try:
        return None if since is None else ceil(duration_s(since))
    except ValueError as error:
        raise SpecError(f"--since {since}: {error}") from error


def _show_access(
    connection: Connection,
    named: Mapping[str, str],
    ago_s: int | None,
    tail: int | None,
    *,
    follow: bool,
    is_json: bool,
) -> None:
    stack, service = named.get("stack"), named.get("service")
    if "allocation" in named:
        raise SpecError("--access is of a whole service: write SERVICE or STACK.SERVICE")

    async def show(client: "ApiClient") -> None:
        asked = client.access(stack=stack, service=service, ago_s=ago_s, follow=follow, tail=tail)
        async with aclosing(asked) as entries:
            async for entry in entries:
                if is_json:
                    click.echo(as_json(entry))
                elif entry.remark:
                    click.echo(f"hafen: {entry.node}: {entry.remark}", err=True)
                else:
                    click.echo(access_line(entry))

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
