"""The way from the bytes of Compose files to services, step by step.

Pure. read (YAML, with places) -> interpolate (variables) -> include, extend, merge (one tree) ->
decode (records) -> normalise.
"""

from collections.abc import Mapping as Lookup
from collections.abc import Sequence

import msgspec

from deploy.compose import names
from deploy.compose.assemble import Assembler, Project, check_size
from deploy.compose.context import Context
from deploy.compose.decode import Decoded, decode, stack_name
from deploy.compose.errors import Problems
from deploy.compose.library import Library
from deploy.compose.tree import Mapping
from shared.errors import SpecError


class Asked(msgspec.Struct, frozen=True):
    """How files are to be understood.

    Attributes:
        folder: absolute; the project's.
        variables: for `${...}`.
        name: the stack's; None: the files' `name`, or else the folder's.
        profiles: the active ones; * stands for all.
    """

    folder: str
    variables: Lookup[str, str] = {}
    name: str | None = None
    profiles: frozenset[str] = frozenset()


class Understood(msgspec.Struct, frozen=True):
    """What files say together; `tree` is all of it as one file, with absolute paths."""

    name: str
    tree: Mapping
    decoded: Decoded
    warnings: tuple[str, ...]


def understand(
    files: Sequence[tuple[str, bytes]], asked: Asked, library: Library, problems: Problems
) -> Understood:
    """Return what the files say together, all of it or an error.

    Args:
        files: absolute path and content, at least one; each adds to and overrides those before.
        asked: how they are meant.
        library: where the files are that they name.
        problems: may hold some already; they are raised with what is found here.

    Raises:
        SpecError: something is wrong or not understood; a line for each.
    """
    assembler = Assembler(library, problems)
    tree = assembler.project(files, Project(asked.folder, asked.variables))
    check_size(tree)
    in_file = stack_name(tree, problems)
    name = asked.name or in_file or names.from_folder(asked.folder.rpartition("/")[2])
    if not names.is_name(name):
        problems.raise_any()
        shown = library.shown(files[0][0])
        raise SpecError(
            f"{shown}: the folder's name cannot name the stack; write `name:` at the top"
        )
    context = Context(name, asked.folder, asked.variables, library)
    decoded = decode(tree, context, asked.profiles, problems)
    problems.raise_any()
    return Understood(name, tree, decoded, problems.warnings())
