"""`hafen lab demo`: watch a host die; `hafen lab whoami` and `echo`: images to do it by hand."""

import asyncio
import sys
from pathlib import Path
from typing import IO

import click

from deploy.cli.group import INTERRUPTED
from deploy.lab.demo import SECONDS_MIN, DemoPlan, run_demo
from deploy.lab.echo_image import TAGS, build_echo
from deploy.lab.images import build_whoami
from deploy.lab.load import RATE_PER_S_MAX
from deploy.lab.screen import open_screen
from deploy.lab.story import Scene, outcomes, problems, summary, timeline
from deploy.lab.updates import update_timeline
from deploy.lab.view import address_line, result_lines, timeline_lines, update_lines
from shared import codec


@click.command()
@click.option("--nodes", type=click.IntRange(3, 20), default=3, show_default=True)
@click.option(
    "--seconds",
    type=click.FloatRange(SECONDS_MIN),
    default=15.0,
    show_default=True,
    help="How long the load runs around the power cut; longer if recovery takes longer.",
)
@click.option(
    "--rate",
    type=click.FloatRange(1, RATE_PER_S_MAX),
    default=200.0,
    show_default=True,
    help="Requests a second, to all services together.",
)
@click.option("--json", "file", type=click.File("wb", lazy=False), help="Write the result there.")
@click.option("--name", default="demo", show_default=True, help="Of the lab that is made.")
def demo(*, nodes: int, seconds: float, rate: float, file: IO[bytes] | None, name: str) -> None:
    """Three hosts, two services under load: one host dies, then a good and a bad version come.

    Makes a lab of its own and takes it down again, also on Ctrl-C. Ends with 0 only if no request
    failed, every service came back, the good version was rolled out and the bad one back. Needs
    root.
    """
    plan = DemoPlan(lab=name, nodes=nodes, seconds=seconds, rate_per_s=rate)
    scene = asyncio.run(run_demo(plan, open_screen()))
    if scene is None:
        click.echo("interrupted; everything is taken down", err=True)
        sys.exit(INTERRUPTED)
    if file is not None:
        file.write(codec.encode(summary(scene)) + b"\n")
    for line in report(scene):
        click.echo(line)
    sys.exit(1 if problems(scene) else 0)


@click.command()
@click.argument("archive", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--tag", default="1", show_default=True, help="2 or any other; or crash.")
def whoami(archive: Path, tag: str) -> None:
    """Write the image of examples/whoami to ARCHIVE, for `hafen lab load`.

    It is made of this machine's busybox, without a registry. The one tagged crash ends after 3 s.
    """
    click.echo(f"{build_whoami(archive, tag)} is in {archive}")


@click.command()
@click.argument("archive", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--tag", type=click.Choice(TAGS), default="1", show_default=True)
def echo(archive: Path, tag: str) -> None:
    """Write the image of a server with websockets to ARCHIVE, for `hafen lab load`.

    It is made of this machine's Python and busybox. The one tagged sick never becomes healthy, the
    one tagged crash ends after 3 s.
    """
    click.echo(f"{build_echo(archive, tag)} is in {archive}")


def report(scene: Scene) -> list[str]:
    """Return everything that a person reads at the end."""
    found = problems(scene)
    total = summary(scene)
    count = total.requests_sent + sum(each.requests_sent for each in total.updates)
    good = (
        f"{total.node_killed} died, {len(total.updates)} updates came, one of them bad, under "
        f"{count} requests; not one of them failed."
    )
    told = [line for each in scene.updates for line in ("", *timeline_lines(update_timeline(each)))]
    return [
        *timeline_lines(timeline(scene)),
        "",
        *result_lines(outcomes(scene)),
        "",
        address_line(scene),
        *told,
        "",
        *update_lines(scene.updates),
        "",
        *([f"FAILED: {problem}" for problem in found] or [good]),
    ]
