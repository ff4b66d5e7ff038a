"""`hafen config`: what Compose files say together, as hafen understands it."""

import json

import click

from deploy.cli.files import Chosen, file_options, load_stack


@click.command()
@file_options
@click.option(
    "--format",
    "format_",
    type=click.Choice(["yaml", "json"]),
    default="yaml",
    show_default=True,
    help="How it is printed.",
)
@click.option("--services", "part", flag_value="services", help="Only the services' names.")
@click.option("--volumes", "part", flag_value="volumes", help="Only the volumes' names.")
@click.option("--networks", "part", flag_value="networks", help="Only the networks' names.")
@click.option("--images", "part", flag_value="images", help="Only the images.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing: the exit code says it.")
def config(
    chosen: Chosen,
    format_: str,
    part: str | None,
    *,
    quiet: bool,
) -> None:
    """Show what Compose files say together: one file, in long forms, without variables.

    It loads again to the same services. Of secrets it shows where they come from, never what they
    hold; values in environment are shown.
    """
    from deploy.compose import write  # noqa: PLC0415 - reads YAML, which few commands do

    loaded = load_stack(chosen, is_quiet=quiet)
    if quiet:
        return
    if part is not None:
        for line in loaded.names(part):
            click.echo(line)
    elif format_ == "json":
        click.echo(json.dumps(write.jsonable(loaded.model), indent=2, ensure_ascii=False))
    else:
        click.echo(write.yaml(loaded.model), nl=False)
