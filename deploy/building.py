"""How an image is built: which program does it, and with which arguments.

Pure. Values of build arguments go through the environment, never through arguments: everybody on a
machine can read those.
"""

import enum
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from deploy.compose.building import Build
from shared.errors import SpecError


class Tool(enum.StrEnum):
    """A program that builds images, the one that needs least first."""

    BUILDAH = "buildah"
    DOCKER = "docker"
    PODMAN = "podman"


class Command(msgspec.Struct, frozen=True):
    """A program to run: no shell sees it."""

    argv: tuple[str, ...]
    environment: Mapping[str, str] = {}


# Hexadecimal; of one image some 16 million builds until two of them share these digits.
_DIGEST_DIGITS: Final = 12
_TAG_CHARACTERS_MAX: Final = 128
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
    # Only buildah keeps no cache unasked: nothing changed would be another image every time.
    argv += ["--layers"] if tool is Tool.BUILDAH else []
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


def distinct(builds: Iterable[Build]) -> tuple[Build, ...]:
    """Return each build once, in order; services may share an image.

    Raises:
        SpecError: two of them give one name to different images.
    """
    found: dict[str, Build] = {}
    for build in builds:
        if found.setdefault(build.image, build) != build:
            raise SpecError(
                f"two services build image {build.image}, each its own: name them apart"
            )
    return tuple(found.values())


def versioned(image: str, digest: str) -> str:
    """Return the name of one build of an image on the nodes: shop/web:2 -> shop/web:2-0123456789ab.

    What a service runs is known by the image's name. Under the same name a new build would be a
    deploy that changes nothing, and whatever container is made next would run it all the same. A
    tag and not `@sha256:...`: that would be the manifest's digest, which every node makes itself
    when it unpacks the archive; the config's is the one that builder and nodes agree on.

    Args:
        image: as the Compose file calls it.
        digest: of the image's config, "sha256:...".
    """
    name = image.partition("@")[0]
    folder, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    version = digest.removeprefix("sha256:")[:_DIGEST_DIGITS]
    kept = tag[: _TAG_CHARACTERS_MAX - _DIGEST_DIGITS - 1]
    return f"{folder}{slash}{last}:{kept}{'-' if kept else ''}{version}"
