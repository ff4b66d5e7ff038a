"""The Compose files that a command is given -> what the API takes."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click

from shared.api import StackUpload
from shared.model import StackName

F = TypeVar("F", bound=Callable[..., None])


def files_options(function: F) -> F:
    """Add -f and --name."""
    name = click.option("--name", help="The stack's name; default: the file's, else its folder's.")
    files = click.option(
        "-f",
        "--file",
        "files",
        multiple=True,
        type=click.Path(path_type=Path),
        help="A Compose file; repeated, later ones change earlier ones. Default: ./compose.yaml.",
    )
    return files(name(function))


def loaded(files: Sequence[Path], name: str | None) -> tuple[StackName, StackUpload]:
    """Return the stack that the files describe; what is in vain is a warning on standard error.

    Raises:
        SpecError: something is wrong or not understood; a line for each.
    """
    from deploy.compose import find, load  # noqa: PLC0415 - reads YAML, which no other command does

    stack = load(files or (find(Path()),), os.environ, name)
    for warning in stack.warnings:
        click.echo(f"hafen: {warning}", err=True)
    return stack.name, StackUpload(services=stack.services, source=stack.source)
