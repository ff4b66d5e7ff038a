"""Collects what is wrong with a person's files, so that one run reports all of it.

Pure.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from deploy.compose.tree import Mark, Path, dotted, printable
from shared.errors import SpecError

# More than a screenful helps nobody: the first ones are usually the cause of the rest.
PROBLEMS_MAX: Final = 20
WARNINGS_MAX: Final = 100  # these are read after the deploy, so there may be more of them


class RefusedError(Exception):
    """Unwinds to the nearest key or list item; the problem itself is already written down."""


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong, and where."""

    mark: Mark
    path: Path
    what: str

    def __str__(self) -> str:
        """Return one line: file, line, path, what is wrong."""
        parts = [f"{self.mark.file}:{self.mark.line}", dotted(self.path), self.what]
        return printable(": ".join(part for part in parts if part))


def _place(problem: Problem) -> tuple[Mark, list[tuple[int, str]], str]:
    """Return what problems are sorted by: file and line, then the path, with [2] before [10]."""
    path = [(part, "") if isinstance(part, int) else (-1, part) for part in problem.path]
    return problem.mark, path, problem.what


def _lines(found: Iterable[Problem], most: int) -> list[str]:
    in_order = sorted(found, key=_place)
    lines = [str(problem) for problem in in_order[:most]]
    more = len(in_order) - len(lines)
    return [*lines, f"... and {more} more"] if more else lines


class Problems:
    """A growing list of problems; the same one is kept once, however often a walk meets it."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}
        self._warned: dict[Problem, None] = {}

    def add(self, mark: Mark, path: Path, what: str) -> RefusedError:
        """Write a problem down; return the error for callers that cannot go on."""
        self._found[Problem(mark, path, what)] = None
        return RefusedError(what)

    def warn(self, mark: Mark, path: Path, what: str) -> None:
        """Write down what a person should know about a file that is not wrong."""
        self._warned[Problem(mark, path, what)] = None

    def warnings(self) -> tuple[str, ...]:
        """Return all warnings, a line each, in the order of files and lines."""
        return tuple(_lines(self._warned, WARNINGS_MAX))

    def error(self) -> SpecError:
        """Return everything found as one error, a line each, in the order of files and lines."""
        return SpecError("\n".join(_lines(self._found, PROBLEMS_MAX)))

    def raise_any(self) -> None:
        """Return if nothing was found.

        Raises:
            SpecError: something was; see `error`.
        """
        if self._found:
            raise self.error()
