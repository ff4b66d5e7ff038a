"""Compose files on disk -> a stack that can be deployed.

What to do with the bytes is in steps.py; here is what touches the disk, and the stack's name.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from deploy.compose import dotenv, names, read
from deploy.compose.errors import Problems
from deploy.compose.steps import understand
from deploy.compose.tree import quoted
from shared import codec
from shared.errors import SpecError
from shared.model import DOCUMENT_BYTES_MAX, ServiceSpec, Stack, StackName

# In Compose's order of preference.
FILE_NAMES: Final = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")


class LoadedStack(msgspec.Struct, frozen=True, kw_only=True):
    """A Compose file that was understood completely.

    Attributes:
        source: the file as given, variables not replaced, so without what they hold; several files
            follow each other as YAML documents.
        warnings: one line each, for a person; nothing in them stops a deploy.
    """

    name: StackName
    services: tuple[ServiceSpec, ...]
    source: str
    warnings: tuple[str, ...] = ()


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
    paths: Sequence[Path], environment: Mapping[str, str], name: str | None = None
) -> LoadedStack:
    """Return the stack that the files describe, all of it or an error.

    Args:
        paths: Compose files; each adds to and overrides the ones before. `.env` may stand beside
            the first.
        environment: the caller's variables; they win over `.env`.
        name: the stack's name; None: the file's `name`, or else the folder's.

    Raises:
        SpecError: something is wrong or not understood; a line for each, as file:line: path: what.
    """
    if not paths:
        raise SpecError("name a Compose file")
    problems = Problems()
    contents = [_content(path) for path in paths]
    variables = _variables(paths[0].parent, environment, problems)
    files = [(str(path), content) for path, content in zip(paths, contents, strict=True)]
    decoded = understand(files, variables, problems)
    stack = _stack_name(paths[0], decoded.file.name, name)
    _check_size(stack, decoded.file.services, paths[0])
    source = "---\n".join(content.decode("utf-8-sig") for content in contents)
    return LoadedStack(
        name=stack, services=decoded.file.services, source=source, warnings=decoded.warnings
    )


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(read.BYTES_MAX + 1)  # one more than is allowed tells read.parse
    except OSError as error:
        raise SpecError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def _variables(
    folder: Path, environment: Mapping[str, str], problems: Problems
) -> Mapping[str, str]:
    path = folder / ".env"
    if not path.is_file():
        return environment
    content = _content(path)
    if len(content) > read.BYTES_MAX:
        raise SpecError(f"{path}: larger than {read.BYTES_MAX} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: this is not UTF-8 text") from error
    return dotenv.parse(text, str(path), environment, problems)


def _stack_name(path: Path, in_file: str, asked: str | None) -> StackName:
    if asked is not None and not names.is_name(asked):
        raise SpecError(f"{quoted(asked)} cannot name a stack: {names.RULE}")
    name = asked or in_file or names.from_folder(path.parent.resolve().name)
    if not names.is_name(name):
        raise SpecError(
            f"{path}: the folder's name cannot name the stack; write `name:` at the top"
        )
    return StackName(name)


def _check_size(name: StackName, services: tuple[ServiceSpec, ...], path: Path) -> None:
    size = len(codec.encode(Stack(name=name, generation=0, services=services)))
    if size > DOCUMENT_BYTES_MAX:
        raise SpecError(
            f"{path}: {size} bytes when stored, {DOCUMENT_BYTES_MAX} are the most; split the stack"
        )
