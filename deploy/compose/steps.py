"""The way from the bytes of Compose files to services, step by step.

Pure. read (YAML, with places) -> interpolate (variables) -> merge (files) -> decode (records).
"""

import functools
from collections.abc import Mapping, Sequence

from deploy.compose.decode import Decoded, decode
from deploy.compose.errors import Problems
from deploy.compose.interpolate import Expander
from deploy.compose.merge import merge
from deploy.compose.read import parse


def understand(
    files: Sequence[tuple[str, bytes]], variables: Mapping[str, str], problems: Problems
) -> Decoded:
    """Return what the files say together, all of it or an error.

    Args:
        files: name and content, at least one; each adds to and overrides the ones before.
        variables: for `${...}`.
        problems: may hold some already; they are raised with what is found here.

    Raises:
        SpecError: something is wrong or not understood; a line for each.
    """
    trees = [parse(content, name, order, problems) for order, (name, content) in enumerate(files)]
    expander = Expander(variables, problems)
    expanded = [expander.mapping(tree) for tree in trees]
    tree = functools.reduce(lambda base, later: merge(base, later, problems), expanded)
    decoded = decode(tree, variables, problems)
    problems.raise_any()
    return decoded
