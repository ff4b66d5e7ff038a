"""Asking a person before something goes that does not come back."""

import sys
from collections.abc import Callable
from typing import TypeVar

import click

from shared.errors import SpecError

F = TypeVar("F", bound=Callable[..., None])


def yes_option(function: F) -> F:
    """Add --yes, for those who are not to be asked."""
    return click.option("-y", "--yes", is_flag=True, help="Do not ask.")(function)


def confirm(question: str) -> None:
    """Return if a person says yes.

    Raises:
        SpecError: there is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise SpecError("there is no terminal to ask at; say -y")
    click.confirm(question, abort=True, err=True)
