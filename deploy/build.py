"""Builds the images that Compose files describe, with what is installed on this computer."""

import asyncio
import hashlib
import os
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from deploy.building import Command, Tool, build_command, save_command
from deploy.compose.building import Build
from shared.errors import HostError, SpecError

# A build that compiles something large takes many minutes; one that takes longer hangs.
BUILD_S_MAX: Final = 3600.0
SAVE_S_MAX: Final = 600.0


class _Manifest(msgspec.Struct, frozen=True, rename="pascal"):
    config: str


def installed(folders: str | None = None) -> Tool:
    """Return the program that builds images here.

    Args:
        folders: where to look, as in PATH; None: PATH itself.

    Raises:
        HostError: there is none.
    """
    for tool in Tool:
        if shutil.which(tool.value, path=folders):
            return tool
    raise HostError("nothing that builds images is installed: apt-get install buildah, or Docker")


async def build_image(tool: Tool, build: Build, folder: Path) -> Path:
    """Build an image and return the docker-archive file with it.

    Args:
        tool: what builds it; its own output goes to this process's standard error.
        build: what is wanted.
        folder: for the archive, named after the image; what it has of that name is replaced.

    Raises:
        SpecError: the context or the Dockerfile is not there.
        HostError: it could not be built; the program has said why.
    """
    _check(build)
    archive = folder / f"{build.image.replace('/', '_').replace(':', '_')}.tar"
    with tempfile.TemporaryDirectory(prefix="hafen-build-") as scratch:
        inline = Path(scratch) / "Dockerfile"
        inline.write_text(build.inline, encoding="utf-8")
        made = Path(scratch) / "image.tar"
        dockerfile = str(inline) if build.inline else _dockerfile(build)
        what = f"{build.image} could not be built"
        await _run(build_command(tool, build, dockerfile), BUILD_S_MAX, what)
        await _run(save_command(tool, build.image, str(made)), SAVE_S_MAX, what)
        shutil.move(made, archive)
    return archive


def config_digest(archive: Path) -> str:
    """Return "sha256:..." of the config of the image in a docker-archive file.

    Raises:
        HostError: it is none: whatever wrote it is not what it seems to be.
    """
    try:
        with tarfile.open(archive) as tar:
            (manifest,) = msgspec.json.decode(_member(tar, "manifest.json"), type=list[_Manifest])
            # Its name says it as well, but differently from program to program.
            return f"sha256:{hashlib.sha256(_member(tar, manifest.config)).hexdigest()}"
    except (tarfile.TarError, OSError, KeyError, ValueError) as error:
        raise HostError(f"{archive}: is no docker-archive of one image: {error}") from error


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    file = tar.extractfile(name)
    if file is None:
        raise KeyError(f"{name} is no file")
    return file.read()


def _dockerfile(build: Build) -> str:
    return str(Path(build.context) / build.dockerfile) if build.dockerfile else ""


def _check(build: Build) -> None:
    if not Path(build.context).is_dir():
        raise SpecError(f"{build.context}: there is no such folder to build {build.image} from")
    file = Path(_dockerfile(build) or Path(build.context) / "Dockerfile")
    if not build.inline and not file.is_file():
        raise SpecError(f"{file}: there is no such file to build {build.image} from")


async def _run(command: Command, deadline_s: float, what: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *command.argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=2,  # what is built is said on standard error: standard output is for results
        env={**os.environ, **command.environment},
    )
    try:
        async with asyncio.timeout(deadline_s):
            code = await process.wait()
    except TimeoutError:
        raise HostError(f"{what}: {command.argv[0]} took longer than {deadline_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if code != 0:
        raise HostError(f"{what}: {command.argv[0]} {command.argv[1]} ended with {code}")
