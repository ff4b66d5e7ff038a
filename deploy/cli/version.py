"""`hafen version`: apart, for only it needs the metadata of packages, which take long to import."""

from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import click


@click.command()
def version() -> None:
    """Show which hafen this is."""
    try:
        click.echo(f"hafen {version_of('hafen')}")
    except PackageNotFoundError:
        click.echo("hafen, run from its sources: not installed, so it has no version")
