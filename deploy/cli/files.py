"""The options with which every command that reads Compose files chooses them."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

if TYPE_CHECKING:  # it reads YAML, and --help must not wait for that
    from deploy.compose import LoadedStack


class Chosen(msgspec.Struct, frozen=True):
    """What a person chose.

    Attributes:
        files: none: the folder's own.
        name: None: the files' or the folder's.
        env_files: none: `.env` beside the first file.
    """

    files: tuple[Path, ...] = ()
    name: str | None = None
    profiles: tuple[str, ...] = ()
    env_files: tuple[Path, ...] = ()


_OPTIONS: Final = (
    click.option(
        "-f",
        "--file",
        "files",
        multiple=True,
        type=click.Path(path_type=Path),
        help="A Compose file; repeated, later ones change earlier ones. Default: ./compose.yaml.",
    ),
    click.option("--name", help="The stack's name; default: the file's, else its folder's."),
    click.option(
        "--profile",
        "profiles",
        multiple=True,
        metavar="NAME",
        help="Services with this profile, too; * is all (also COMPOSE_PROFILES). May be repeated.",
    ),
    click.option(
        "--env-file",
        "env_files",
        multiple=True,
        type=click.Path(path_type=Path),
        help="Variables for the files, in place of .env; repeated, later ones win.",
    ),
)


def file_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command -f, --name, --profile and --env-file; it takes them as `chosen`."""

    @functools.wraps(command)
    def with_files(
        *args: Any,
        files: tuple[Path, ...],
        name: str | None,
        profiles: tuple[str, ...],
        env_files: tuple[Path, ...],
        **given: Any,
    ) -> None:
        command(*args, chosen=Chosen(files, name, profiles, env_files), **given)

    decorated: Callable[..., None] = with_files
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def load_stack(chosen: Chosen, *, is_quiet: bool = False) -> "LoadedStack":
    """Return the stack that the options choose; its warnings are shown on standard error.

    Raises:
        SpecError: something is wrong or not understood.
    """
    from deploy.compose import find, load  # noqa: PLC0415 - reads YAML, which few commands do

    loaded = load(
        chosen.files or (find(Path()),),
        os.environ,
        chosen.name,
        profiles=chosen.profiles,
        env_files=chosen.env_files or None,
    )
    for warning in () if is_quiet else loaded.warnings:
        click.echo(f"hafen: {warning}", err=True)
    return loaded
