"""hafen network: which networks there are, who is on them, and how many addresses are left."""

import click

from deploy.cli.asking import confirm, yes_option
from deploy.cli.connect import Connection
from deploy.cli.listing import json_option
from deploy.cli.screen import print_table
from deploy.render import as_json
from deploy.render_network import network_table, pool_table
from shared.model import Network


@click.group()
def network() -> None:
    """Networks: containers reach each other on those that they share, wherever they run."""


@network.command(name="ls")
@json_option
@click.pass_obj
def network_ls(connection: Connection, *, is_json: bool) -> None:
    """Show the networks with who makes and who uses them, and how many addresses are taken."""
    found = connection.run(lambda client: client.networks())
    if is_json:
        click.echo(as_json(found))
        return
    print_table(network_table(found.networks))
    click.echo()
    print_table(pool_table(found.pools))


@network.command(name="create")
@click.argument("name")
@click.option("--internal", is_flag=True, help="What is only on it reaches nothing beyond it.")
@click.option("--subnet", default="", metavar="CIDR", help="Where its fixed addresses are from.")
@click.pass_obj
def network_create(connection: Connection, name: str, subnet: str, *, internal: bool) -> None:
    """Make the network NAME, which stacks name as external; the same again changes nothing."""
    wanted = Network(name=name, internal=internal, subnet=subnet)
    made = connection.run(lambda client: client.create_network(wanted))
    click.echo(f"{made.name} is there; a Compose file names it under networks with external: true")


@network.command(name="rm")
@click.argument("name")
@yes_option
@click.pass_obj
def network_rm(connection: Connection, name: str, *, yes: bool) -> None:
    """Remove the network NAME, which a command made and nobody uses."""
    if not yes:
        confirm(f"Remove network {name}?")
    gone = connection.run(lambda client: client.remove_network(name))
    click.echo(f"{gone.name} is removed")
