"""The way from the bytes of Compose files to services, step by step.

Pure. read (YAML, with places) -> interpolate (variables) -> include, extend, merge (one tree) ->
decode (records) -> normalise.
"""

from collections.abc import Mapping as Lookup
from collections.abc import Sequence
from typing import Final

import msgspec

from deploy.compose import names
from deploy.compose.assemble import Assembler, Project, check_size
from deploy.compose.context import Context
from deploy.compose.decode import Decoded, decode, stack_name
from deploy.compose.errors import Problems
from deploy.compose.library import Library
from deploy.compose.tree import Mapping, quoted
from shared.errors import SpecError

# For `${...}` it is the stack's name, wherever that comes from; set by a person, it gives the name.
PROJECT_NAME: Final = "COMPOSE_PROJECT_NAME"


class Asked(msgspec.Struct, frozen=True):
    """How files are to be understood.

    Attributes:
        folder: absolute; the project's.
        variables: for `${...}`.
        name: the stack's; None: that of PROJECT_NAME, the files' `name`, or the folder's.
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
    given = asked.name or _given(asked.variables)
    assembler = Assembler(library, problems)
    named = assembler.name(files, asked.variables)
    name = given or named or names.from_folder(asked.folder.rpartition("/")[2])
    variables = {**asked.variables, PROJECT_NAME: name}
    tree = assembler.project(files, Project(asked.folder, variables))
    check_size(tree)
    # The file's own name counts with its tags, and what is wrong with it is written down.
    name = given or stack_name(tree, problems) or name
    if not names.is_name(name):
        problems.raise_any()
        shown = library.shown(files[0][0])
        raise SpecError(
            f"{shown}: the folder's name cannot name the stack; write `name:` at the top"
        )
    context = Context(name, asked.folder, variables, library)
    decoded = decode(tree, context, asked.profiles, problems)
    problems.raise_any()
    return Understood(name, tree, decoded, problems.warnings())


def _given(variables: Lookup[str, str]) -> str:
    """Return the stack's name that a variable gives; empty: none.

    Raises:
        SpecError: nothing can be called so.
    """
    name = variables.get(PROJECT_NAME, "")
    if name and not names.is_name(name):
        raise SpecError(f"{PROJECT_NAME}: {quoted(name)} cannot name a stack: {names.RULE}")
    return name
