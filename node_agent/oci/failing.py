"""What the disk or the kernel refuses is the failure of the one thing that was tried.

Nearly all that the runtime does writes files and starts programs. Its ways in are marked with
`failing`, so that nothing below need think of a full disk, and nothing above hears of one as
anything but a step that failed.
"""

import functools
import os
from collections.abc import Callable, Coroutine
from pathlib import PurePath
from typing import Any, Final, ParamSpec, TypeVar

from shared.errors import HostError, RuntimeFailureError

P = ParamSpec("P")
T = TypeVar("T")
_Action = Callable[P, Coroutine[Any, Any, T]]

# Whose room it is that lacks, by the folder: what is in it is nobody's business but the node's.
_KINDS: Final = {
    "configs": "its configs",
    "secrets": "its secrets",
    "volumes": "its volumes",
    "containers": "its files",
    "images": "images",
    "unpacked": "images",
    "runtime": "the runtime's state",
    "bin": "a program",
    "proc": "the kernel",
    "sys": "the kernel",
}


def failing(
    what: str, kind: type[RuntimeFailureError] = RuntimeFailureError
) -> Callable[[_Action[P, T]], _Action[P, T]]:
    """Return what makes an action fail by a `kind` where the disk or the kernel refuses.

    Args:
        what: is said of whatever the action is about, its first argument.
        kind: of error.
    """

    def marked(action: _Action[P, T]) -> _Action[P, T]:
        @functools.wraps(action)
        async def tried(*args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return await action(*args, **kwargs)
            except (OSError, HostError) as error:
                raise kind(f"{_subject(args[1:])}: {what}: {_why(error)}") from error

        return tried

    return marked


def _subject(arguments: tuple[object, ...]) -> str:
    return str(getattr(arguments[0], "id", arguments[0])) if arguments else "containers"


def _why(error: OSError | HostError) -> str:
    if isinstance(error, HostError):
        return str(error)
    said = error.strerror or type(error).__name__
    kind = kind_of(error.filename) if isinstance(error.filename, str | bytes | PurePath) else ""
    return f"{said} ({kind})" if kind else said


def kind_of(path: str | bytes | PurePath) -> str:
    """Return what a path is for, as far as that follows from the folder that it is in."""
    # The innermost: a node's own folders may be called anything.
    parts = reversed(PurePath(os.fsdecode(path)).parts[:-1])
    return next((_KINDS[part] for part in parts if part in _KINDS), "")
