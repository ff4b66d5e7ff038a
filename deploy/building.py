"""How an image is built: which program does it, and with which arguments.

Pure. Values of build arguments go through the environment, never through arguments: everybody on a
machine can read those.
"""

import enum
from collections.abc import Mapping
from typing import Final

import msgspec

from deploy.compose.building import Build


class Tool(enum.StrEnum):
    """A program that builds images, the one that needs least first."""

    BUILDAH = "buildah"
    DOCKER = "docker"
    PODMAN = "podman"


class Command(msgspec.Struct, frozen=True):
    """A program to run: no shell sees it."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = {}


# Health checks of an image exist in Docker's format only, and these two have another by default.
_FORMAT: Final = ("--format", "docker")


def build_command(tool: Tool, build: Build, dockerfile: str) -> Command:
    """Return what builds an image and gives it its names.

    Args:
        tool: what is installed.
        build: what is wanted.
        dockerfile: path of the Dockerfile; empty: the context's own.
    """
    argv = [tool.value, "build"]
    argv += [] if tool is Tool.DOCKER else _FORMAT
    for name in (build.image, *build.tags):
        argv += ["--tag", name]
    argv += ["--file", dockerfile] if dockerfile else []
    argv += ["--target", build.target] if build.target else []
    for name in sorted(build.args):
        argv += ["--build-arg", name]  # without a value: taken from the environment
    for name, value in sorted(build.labels.items()):
        argv += ["--label", f"{name}={value}"]
    for platform in build.platforms:
        argv += ["--platform", platform]
    argv += ["--network", build.network] if build.network else []
    for entry in build.extra_hosts:
        argv += ["--add-host", entry.replace("=", ":", 1)]
    argv += ["--shm-size", f"{build.shm_bytes}b"] if build.shm_bytes else []
    argv += ["--pull"] if build.pull else []
    argv += ["--no-cache"] if build.no_cache else []
    return Command((*argv, "--", build.context), build.args)


def save_command(tool: Tool, image: str, archive: str) -> Command:
    """Return what writes an image into a docker-archive file."""
    argv: tuple[str, ...]
    if tool is Tool.BUILDAH:
        argv = ("buildah", "push", "--", image, f"docker-archive:{archive}:{image}")
    elif tool is Tool.DOCKER:
        argv = ("docker", "save", "--output", archive, "--", image)
    else:
        argv = ("podman", "save", "--format", "docker-archive", "--output", archive, image)
    return Command(argv)
