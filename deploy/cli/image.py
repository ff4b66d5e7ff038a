"""`hafen image`: images without a registry, built here, on this host, on all nodes."""

import asyncio
from pathlib import Path
from typing import Final

import click

from deploy.cli.bring import bring
from deploy.cli.connect import Connection
from deploy.cli.files import Chosen, file_options, load_stack

DEFAULT_DATA_DIR: Final = Path("/var/lib/hafen")


@click.group()
def image() -> None:
    """Build images, import them on this host, or bring them to all nodes."""


@image.command()
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DATA_DIR,
    show_default=True,
    help="This host's data, as in its settings.",
)
def load(archive: Path, data_dir: Path) -> None:
    """Import ARCHIVE, a docker-archive or oci-archive tar file, into this host."""
    from node_agent.oci.images import load_image  # noqa: PLC0415 - needs Linux, other commands not

    click.echo(asyncio.run(load_image(data_dir, archive)))


@image.command()
@click.argument("archive", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.pass_obj
def push(connection: Connection, archive: Path) -> None:
    """Bring ARCHIVE, a docker-archive or oci-archive tar file, to all nodes of the cluster.

    Exit code 0: every node that is well has it; 6: some do not, the others have it. A node that is
    away now lacks it when it comes back.
    """
    from node_agent.oci.archive import inspect  # noqa: PLC0415 - few commands need it

    inspect(archive)
    connection.run(lambda client: bring(client, archive))


@image.command()
@file_options
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path(),
    show_default=True,
    help="Where the archives go.",
)
@click.option("--push", "is_pushed", is_flag=True, help="Bring them to all nodes, too.")
@click.pass_obj
def build(connection: Connection, chosen: Chosen, folder: Path, *, is_pushed: bool) -> None:
    """Build the images that Compose files describe; print the archives with them.

    Built with buildah, docker or podman, whichever is installed. Each archive can be brought to the
    nodes with `hafen image push`, or --push now, under the name that the file gives it; `hafen
    deploy` does all of this by itself.
    """
    from deploy.build import build_image, installed  # noqa: PLC0415 - few commands need it
    from deploy.building import distinct  # noqa: PLC0415 - as above

    loaded = load_stack(chosen)
    if not loaded.builds:
        click.echo("no service has `build`", err=True)
        return
    tool = installed()
    for one in distinct(loaded.builds):
        archive = asyncio.run(build_image(tool, one, folder))
        click.echo(archive)
        if is_pushed:
            _push(connection, archive, one.image)


def _push(connection: Connection, archive: Path, name: str) -> None:
    connection.run(lambda client: bring(client, archive, name, is_aside=True))
