"""hafen volume: which named volumes there are and where, and removing what nobody uses."""

import click

from deploy.cli.asking import confirm, yes_option
from deploy.cli.connect import Connection
from deploy.cli.listing import json_option, show_list
from deploy.render import volume_table


@click.group()
def volume() -> None:
    """Named volumes: their data is on one node each."""


@volume.command(name="ls")
@json_option
@click.pass_obj
def volume_ls(connection: Connection, *, is_json: bool) -> None:
    """Show the named volumes: which node has the data, and which services use it.

    "no record" is data that a node reports and nobody asked for there: nothing is done with it.
    """
    found = connection.run(lambda client: client.volumes())
    show_list(found, volume_table(found.volumes), is_json=is_json)


@volume.command(name="rm")
@click.argument("name")
@yes_option
@click.option(
    "--force",
    is_flag=True,
    help="Forget the volume without its node, for one that is lost for good. The folder stays on "
    "that host's disk: should the host come back, `hafen volume ls` shows it with no record.",
)
@click.pass_obj
def volume_rm(connection: Connection, name: str, *, yes: bool, force: bool) -> None:
    """Remove the volume NAME and its data; a service that uses it, stopped or not, keeps it.

    With --force a stopped service does not: started again it gets an empty volume, or the one
    other folder of that name that a node reports.
    """
    if not yes:
        confirm(f"Forget where {name} is?" if force else f"Remove {name} and its data?")
    going = connection.run(lambda client: client.remove_volume(name, force=force))
    click.echo(
        f"{name} is forgotten; what {going.node} has of it stays on its disk"
        if force
        else f"{name}: {going.node} removes its data; `hafen volume ls` lists it until it is gone"
    )
