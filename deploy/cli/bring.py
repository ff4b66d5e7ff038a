"""Bringing an image to all nodes, with a line for each of them."""

from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shared.api import ImagePush
from shared.errors import ConvergenceError, UnavailableError

if TYPE_CHECKING:  # it brings an HTTP client along, and --help must not wait for that
    from deploy.client import ApiClient


async def bring(
    client: "ApiClient", archive: Path, name: str = "", *, is_aside: bool = False
) -> None:
    """Send an archive to all nodes and show how each of them took it.

    Args:
        client: of any scheduler.
        archive: a docker-archive or oci-archive file.
        name: what the image is called there; empty: as the archive says.
        is_aside: show it on standard error: the command's result is something else.

    Raises:
        ConvergenceError: a node that is well does not have it.
        UnavailableError: the cluster cannot be reached, or said no more.
    """
    last = ImagePush()
    async with aclosing(client.push_image(archive, name)) as answers:
        async for last in answers:
            click.echo(line(last), err=is_aside)
    if last.node is not None or not last.asked:
        raise UnavailableError("the scheduler did not say which nodes have it; push it again")
    if last.have < last.asked:
        lacking = last.asked - last.have
        raise ConvergenceError(
            f"{lacking} of {last.asked} nodes do not have {name or last.image or archive.name}: "
            f"{last.problem}; mend them and push it again"
        )


def line(told: ImagePush) -> str:
    """Return how a node took an image, or how all of them did."""
    if told.node is None:
        return f"{told.image or 'the image'}: on {told.have} of {told.asked} nodes"
    if told.problem:
        return f"{told.node}: failed after {told.seconds:.1f} s: {told.problem}"
    return f"{told.node}: has {told.image} after {told.seconds:.1f} s"
