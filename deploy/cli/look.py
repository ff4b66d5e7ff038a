"""Commands that look at changes: history, why, watch."""

from typing import TYPE_CHECKING

import click

from deploy.cli.connect import Connection
from deploy.cli.follow import parse_whose
from deploy.cli.listing import json_option, show_list
from deploy.cli.waiting import outcome, timeout_option
from deploy.render import as_json
from deploy.render_change import history_table, why_lines
from shared.api import Accepted
from shared.model import Revision, StackName

if TYPE_CHECKING:  # it brings an HTTP client along, and --help must not wait for that
    from deploy.client import ApiClient


@click.command()
@click.argument("stack")
@click.option("--show", "generation", type=click.IntRange(min=1), help="The file as it was then.")
@json_option
@click.pass_obj
def history(connection: Connection, stack: str, generation: int | None, *, is_json: bool) -> None:
    """Show what was asked of STACK over time: when, by which command, and what changed."""
    name = StackName(stack)
    if generation is not None:
        number = generation
        found = connection.run(lambda client: client.generation(name, number))
        click.echo(as_json(found) if is_json else found.source.rstrip("\n"))
        return
    seen = connection.run(lambda client: client.history(name))
    show_list(seen, history_table(seen.generations), is_json=is_json)


@click.command()
@click.argument("whose", metavar="ALLOCATION|SERVICE|STACK.SERVICE")
@json_option
@click.pass_obj
def why(connection: Connection, whose: str, *, is_json: bool) -> None:
    """Show why an allocation or a service is as it is: why it is there, what it waits for."""
    found = connection.run(lambda client: client.why(**parse_whose(whose)))
    click.echo(as_json(found) if is_json else "\n".join(why_lines(found)))


@click.command()
@click.argument("stack")
@timeout_option
@click.pass_obj
def watch(connection: Connection, stack: str, timeout_s: float) -> None:
    """Show the change of STACK that is under way, and end as the command that began it would."""

    async def follow(client: "ApiClient") -> str:
        newest = (await client.history(StackName(stack))).generations[0].generation
        now = Accepted(stack=StackName(stack), generation=newest, revision=Revision(0))
        return await outcome(client, now, timeout_s)

    click.echo(connection.run(follow))
