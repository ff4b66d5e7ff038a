"""Compose files on disk -> a stack that can be deployed.

What to do with the bytes is in steps.py; here is what touches the disk.
"""

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from deploy.compose import canonical, dotenv, names
from deploy.compose.building import Build
from deploy.compose.errors import Problems
from deploy.compose.library import BYTES_MAX, Library
from deploy.compose.places import Places, places
from deploy.compose.steps import Asked, Understood, understand
from deploy.compose.tree import quoted
from shared import codec
from shared.errors import SpecError
from shared.model import (
    DOCUMENT_BYTES_MAX,
    Mount,
    MountKind,
    Network,
    ServiceSpec,
    Stack,
    StackName,
)

# In Compose's order of preference.
FILE_NAMES: Final = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")


class LoadedStack(msgspec.Struct, frozen=True, kw_only=True):
    """Compose files that were understood completely.

    Attributes:
        source: the files as given, variables not replaced, so without what they hold; several files
            follow each other as YAML documents.
        contents: of the configs and secrets that services use, by the name that they use.
        builds: the images that are to be built before the services can run.
        networks: those that the stack makes.
        model: all files as one, in long forms, as plain values; no secret is in it.
        warnings: one line each, for a person; nothing in them stops a deploy.
        places: where its services and networks stand, for what the cluster says of them.
    """

    name: StackName
    services: tuple[ServiceSpec, ...]
    source: str
    contents: Mapping[str, bytes] = {}
    builds: tuple[Build, ...] = ()
    networks: tuple[Network, ...] = ()
    model: canonical.Model = canonical.EMPTY
    warnings: tuple[str, ...] = ()
    places: Places = {}

    def names(self, of: str) -> list[str]:
        """Return the names of its services, volumes, networks or images, each once and sorted."""
        works = [spec.workload for spec in self.services]
        found = {
            "services": {str(spec.name) for spec in self.services},
            "volumes": {one.source for work in works for one in work.mounts if _is_named(one)},
            "networks": {one.network for work in works for one in work.networks},
            "images": {work.image for work in works},
        }
        return sorted(found[of])


def _is_named(mount: Mount) -> bool:
    return mount.kind is MountKind.VOLUME and bool(mount.source)


def find(folder: Path) -> Path:
    """Return the Compose file of a folder.

    Raises:
        SpecError: there is none.
    """
    for file_name in FILE_NAMES:
        if (folder / file_name).is_file():
            return folder / file_name
    raise SpecError(f"{folder}: no {FILE_NAMES[0]} here; name the file")


def load(
    paths: Sequence[Path],
    environment: Mapping[str, str],
    name: str | None = None,
    *,
    profiles: Sequence[str] = (),
    env_files: Sequence[Path] | None = None,
) -> LoadedStack:
    """Return the stack that the files describe, all of it or an error.

    Args:
        paths: Compose files; each adds to and overrides the ones before.
        environment: the caller's variables; they win over files of variables.
        name: the stack's name; None: the files' `name`, or else the folder's.
        profiles: the active ones, besides those that COMPOSE_PROFILES names.
        env_files: files of variables, later ones win; None: `.env` beside the first Compose file,
            if there is one.

    Raises:
        SpecError: something is wrong or not understood; a line for each, as file:line: path: what.
    """
    if not paths:
        raise SpecError("name a Compose file")
    if name is not None and not names.is_name(name):
        raise SpecError(f"{quoted(name)} cannot name a stack: {names.RULE}")
    problems = Problems()
    contents = [_content(path) for path in paths]
    folder = absolute(paths[0].parent)
    variables = _variables(folder, paths[0].parent, env_files, environment, problems)
    library = Library(fetch, problems, {str(absolute(path)): str(path) for path in paths})
    asked = Asked(str(folder), variables, name, frozenset({*profiles, *_named_profiles(variables)}))
    files = [(str(absolute(path)), content) for path, content in zip(paths, contents, strict=True)]
    found = understand(files, asked, library, problems)
    _check_size(found, paths[0])
    source = "---\n".join(content.decode("utf-8-sig") for content in contents)
    return LoadedStack(
        name=StackName(found.name),
        services=found.decoded.services,
        source=source,
        contents=found.decoded.contents,
        builds=found.decoded.builds,
        networks=found.decoded.networks,
        model=canonical.model(found.tree, found.name, found.decoded, asked.profiles),
        warnings=found.warnings,
        places=places(found.tree, StackName(found.name)),
    )


def absolute(path: Path) -> Path:
    """Return a path from the root without . and .. in it; links stay what they are."""
    return Path(os.path.normpath(Path.cwd() / path))


def fetch(path: str, most: int) -> bytes:
    """Return the first bytes of a file.

    Raises:
        OSError: there is none, or it is none that ends, such as a pipe.
    """
    # A pipe that nobody writes to would keep an ordinary open waiting for ever.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        if stat.S_ISDIR(mode := os.fstat(handle).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(0, "it is no ordinary file")
        with open(handle, "rb", closefd=False) as file:
            return file.read(most)
    finally:
        os.close(handle)


def _content(path: Path) -> bytes:
    """Return a file that a person named: it may be a pipe, too."""
    try:
        with path.open("rb") as file:
            return file.read(BYTES_MAX + 1)  # one more than is allowed tells read.parse
    except (OSError, ValueError) as error:
        why = (getattr(error, "strerror", None) or str(error)).lower()
        raise SpecError(f"{path}: {why}") from error


def _named_profiles(variables: Mapping[str, str]) -> list[str]:
    return [one.strip() for one in variables.get("COMPOSE_PROFILES", "").split(",") if one.strip()]


def _variables(
    folder: Path,
    shown: Path,
    env_files: Sequence[Path] | None,
    environment: Mapping[str, str],
    problems: Problems,
) -> Mapping[str, str]:
    if env_files is None:
        env_files = (shown / ".env",) if (folder / ".env").is_file() else ()
    variables = environment
    # The last one wins: what is known already, another file does not change.
    for path in reversed(env_files):
        content = _content(path)
        if len(content) > BYTES_MAX:
            raise SpecError(f"{path}: larger than {BYTES_MAX} bytes")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise SpecError(f"{path}: this is not UTF-8 text") from error
        variables = dotenv.parse(text, str(path), variables, problems)
    return variables


def _check_size(found: Understood, path: Path) -> None:
    stack = Stack(
        name=StackName(found.name),
        generation=0,
        services=found.decoded.services,
        networks=found.decoded.networks,
    )
    size = len(codec.encode(stack))
    if size > DOCUMENT_BYTES_MAX:
        raise SpecError(
            f"{path}: {size} bytes when stored, {DOCUMENT_BYTES_MAX} are the most; split the stack"
        )
