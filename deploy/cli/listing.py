"""Commands that show what is: ps, ls, status. All of them take --json."""

from collections.abc import Callable
from typing import TypeVar

import click

from deploy.cli.connect import Connection
from deploy.cli.screen import print_table
from deploy.render import (
    Table,
    allocation_table,
    as_json,
    finding_table,
    outage_lines,
    service_table,
    status_lines,
)
from deploy.render_node import node_table
from shared.api import Level
from shared.clock import SystemClock
from shared.model import Record

F = TypeVar("F", bound=Callable[..., None])


def json_option(function: F) -> F:
    """Add --json, with the records of the HTTP API."""
    return click.option("--json", "is_json", is_flag=True, help="For programs: every field.")(
        function
    )


def show_list(found: Record, table: Table, *, is_json: bool) -> None:
    """Print records for programs, or as a table for people."""
    if is_json:
        click.echo(as_json(found))
    else:
        print_table(table)


@click.command()
@click.argument("stack", required=False)
@json_option
@click.pass_obj
def ps(connection: Connection, stack: str | None, *, is_json: bool) -> None:
    """Show allocations: what runs where, and how it is. STACK shows one stack's only."""
    found = connection.run(lambda client: client.allocations(stack))
    show_list(found, allocation_table(found.allocations, SystemClock().now_s()), is_json=is_json)


@click.command()
@json_option
@click.pass_obj
def ls(connection: Connection, *, is_json: bool) -> None:
    """Show the services of all stacks: how many replicas are ready, and what is in the way."""
    found = connection.run(lambda client: client.services())
    show_list(found, service_table(found.services), is_json=is_json)
    if found.unread and not is_json:
        click.echo("\n" + "\n".join(outage_lines(tuple(found.unread.values()))))


@click.command()
@json_option
@click.pass_obj
def status(connection: Connection, *, is_json: bool) -> None:
    """Show the cluster at a glance, within a second whatever is broken, and what does not work."""
    found = connection.status()
    if is_json:
        click.echo(as_json(found))
        return
    click.echo("\n".join(status_lines(found)) + "\n")
    print_table(node_table(found.nodes))
    if found.services:
        click.echo()
        print_table(service_table(found.services))
    if found.outages:
        click.echo("\n" + "\n".join(outage_lines(found.outages)))


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, *, is_json: bool) -> None:
    """Show what cannot hold what the cluster promises, and what to do. Exit code 1: it is bad."""
    connection: Connection = ctx.obj
    found = connection.run(lambda client: client.doctor())
    show_list(found, finding_table(found.findings), is_json=is_json)
    if any(finding.level is Level.FAIL for finding in found.findings):
        ctx.exit(1)
