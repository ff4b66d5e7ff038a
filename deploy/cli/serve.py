"""`hafen serve`: what an init system starts on every host."""

import asyncio
from pathlib import Path

import click

from deploy.host.supervise import run_host
from shared.settings import DEFAULT_PATH


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=DEFAULT_PATH,
    show_default=True,
    help="This host's settings.",
)
def serve(config: Path) -> None:
    """Run this host: its etcd member, scheduler and node agent, until SIGTERM.

    Checks the host first. What ends is started again. Containers and their traffic do not depend on
    this process: they keep running while it is down or being upgraded.
    """
    asyncio.run(run_host(config))
