"""`hafen image`: images on this host, for hosts that reach no registry."""

import asyncio
from pathlib import Path
from typing import Final

import click

from deploy.cli.files import Chosen, file_options, load_stack

DEFAULT_DATA_DIR: Final = Path("/var/lib/hafen")


@click.group()
def image() -> None:
    """Images on this host."""


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
def build(chosen: Chosen, folder: Path) -> None:
    """Build the images that Compose files describe; print the archives with them.

    Built with buildah, docker or podman, whichever is installed. Each archive can be imported with
    `hafen image load`, or pushed to a registry.
    """
    from deploy.build import build_image, installed  # noqa: PLC0415 - few commands need it

    loaded = load_stack(chosen)
    if not loaded.builds:
        click.echo("no service has `build`", err=True)
        return
    tool = installed()
    for one in loaded.builds:
        click.echo(asyncio.run(build_image(tool, one, folder)))
