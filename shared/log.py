"""structlog, set up once per process: JSON for machines, colours for a terminal.

Events are constant snake_case words with key/values. `info` is the cluster's story, one line per
action; `warning` means that we are trying again; `error` means that a person must act.
"""

import contextlib
import logging
import sys
from typing import TextIO

import structlog


def set_up(*, level: str = "info", **bound: str) -> None:
    """Configure structlog to write to standard error and bind `bound` to every line.

    Args:
        level: the lowest level that is written.
        **bound: context of the whole process, such as node and part.
    """
    terminal = sys.stderr.isatty()
    render: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=lambda *_: _Lines(sys.stderr),
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(**bound)


class _Lines:
    """Writes lines, and drops those that cannot be written: a log on a full disk ends nobody."""

    def __init__(self, to: TextIO) -> None:
        self._to = to

    def msg(self, line: str) -> None:
        """Write one line."""
        with contextlib.suppress(OSError):
            # In one piece: threads write, too.
            self._to.write(f"{line}\n")
            self._to.flush()

    debug = info = warning = error = critical = exception = msg
