"""hafen net: what passes between nodes and containers, and who may talk to whom."""

import click

from deploy.cli.connect import Connection
from deploy.cli.listing import json_option
from deploy.cli.screen import print_table
from deploy.render import as_json, finding_table
from deploy.render_net import (
    doctor_lines,
    dot,
    of_service,
    pair_table,
    service_net_table,
    shared_table,
    tree_lines,
)
from shared.errors import NotFoundError


@click.group()
def net() -> None:
    """The network between nodes, containers and the outside."""


@net.command(name="doctor")
@json_option
@click.pass_context
def net_doctor(ctx: click.Context, *, is_json: bool) -> None:
    """Try what should pass between nodes and containers; name what is broken, and what to do.

    Each pair of nodes and a container on each: ICMP, TCP, UDP, packets as large as the links,
    names, virtual addresses, published ports. Takes a few seconds. Exit code 0: all is well; 1:
    something was found; 5: nobody can be asked.
    """
    connection: Connection = ctx.obj
    found = connection.run(lambda client: client.net_doctor())
    if is_json:
        click.echo(as_json(found))
    else:
        table = pair_table(found)
        if table.rows:
            print_table(table)
            click.echo()
        click.echo("\n".join(doctor_lines(found)))
        if found.findings:
            click.echo()
            print_table(finding_table(found.findings))
    if found.findings:
        ctx.exit(1)


@net.command(name="show")
@click.argument("service", required=False)
@json_option
@click.option("--dot", "is_dot", is_flag=True, help="A graph for Graphviz: dot -Tsvg.")
@click.pass_obj
def net_show(connection: Connection, service: str | None, *, is_json: bool, is_dot: bool) -> None:
    """Show who may talk to whom: networks, who is on them, ways in, virtual addresses.

    SERVICE, as STACK.SERVICE or only the service, shows what it is on and whom it meets there.
    """
    view = connection.run(lambda client: client.net())
    if service is not None:
        names = ", ".join(one.service for one in view.services) or "none"
        view = of_service(view, service)
        if not view.services:
            raise NotFoundError(f"there is no service {service}; there are: {names}")
    if is_json:
        click.echo(as_json(view))
    elif is_dot:
        click.echo(dot(view))
    else:
        click.echo("\n".join(tree_lines(view)) + "\n")
        print_table(service_net_table(view.services))
        if len(view.services) > 1:
            click.echo("\nWho shares a network with whom")
            print_table(shared_table(view))
