"""`hafen image`: images on this host, for hosts that reach no registry."""

import asyncio
from pathlib import Path
from typing import Final

import click

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
