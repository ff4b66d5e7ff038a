"""Stacks with `build`: built here, and known to the cluster by what was built."""

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from deploy.cli.bring import bring
from deploy.cli.connect import Connection
from shared.model import PullPolicy, ServiceSpec

if TYPE_CHECKING:  # they read YAML and bring an HTTP client along; --help must not wait for that
    from deploy.client import ApiClient
    from deploy.compose import LoadedStack


class Made(msgspec.Struct, frozen=True):
    """An image that was built: its name on the nodes, and the docker-archive with it."""

    name: str
    archive: Path


def with_built(stack: "LoadedStack") -> "LoadedStack":
    """Build what a stack builds, and return it with the names of what was built.

    Raises:
        HostError: nothing that builds is installed, or it could not be built.
        SpecError: there is nothing to build it from.
    """
    if not stack.builds:
        return stack
    with _made(stack) as made:
        return renamed(stack, made)


def with_pushed(connection: Connection, stack: "LoadedStack", *, is_forced: bool) -> "LoadedStack":
    """Build as `with_built` does, and bring it to all nodes unless they have it.

    Args:
        connection: to the cluster.
        stack: as loaded.
        is_forced: bring it in any case.

    Raises:
        HostError, SpecError: as `with_built`.
        ConvergenceError: a node that is well does not have it now.
    """
    if not stack.builds:
        return stack
    with _made(stack) as made:

        async def all_of_them(client: "ApiClient") -> None:
            for image in made.values():
                if is_forced or (await client.image_holders(image.name)).lacking:
                    await bring(client, image.archive, image.name, is_aside=True)
                else:
                    click.echo(f"{image.name}: every node has it", err=True)

        connection.run(all_of_them)
        return renamed(stack, made)


@contextmanager
def _made(stack: "LoadedStack") -> Iterator[Mapping[str, Made]]:
    """Give what a stack builds, by the names in its file; the archives go with the `with`."""
    from deploy.build import build_image, config_digest, installed  # noqa: PLC0415 - seldom used
    from deploy.building import distinct, versioned  # noqa: PLC0415 - as above

    builds, tool = distinct(stack.builds), installed()
    with tempfile.TemporaryDirectory(prefix="hafen-images-") as folder:
        made: dict[str, Made] = {}
        for one in builds:
            archive = asyncio.run(build_image(tool, one, Path(folder)))
            made[one.image] = Made(versioned(one.image, config_digest(archive)), archive)
        yield made


def renamed(stack: "LoadedStack", made: Mapping[str, Made]) -> "LoadedStack":
    """Return the stack with every service that runs a built image running exactly that one."""
    services = tuple(_renamed(spec, made) for spec in stack.services)
    return msgspec.structs.replace(stack, services=services)


def _renamed(spec: ServiceSpec, made: Mapping[str, Made]) -> ServiceSpec:
    image = made.get(spec.workload.image)
    if image is None:
        return spec
    # No registry has it, or somebody else's image of that name.
    workload = msgspec.structs.replace(spec.workload, image=image.name, pull=PullPolicy.NEVER)
    return msgspec.structs.replace(spec, workload=workload)
