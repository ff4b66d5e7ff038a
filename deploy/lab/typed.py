"""The command line, run as a person would: a program of its own with an exit code."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, STDOUT
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from shared.errors import ConvergenceError

_HAFEN: Final = (sys.executable, "-c", "from deploy.cli.main import main; main()")
# Of a long answer the end has the verdict.
_LINES_MAX: Final = 6


class Typed(msgspec.Struct, frozen=True):
    """How a command ended; `said` has its last lines, errors among them."""

    took_s: float
    exit_code: int
    said: tuple[str, ...]


async def hafen(
    socket: Path, words: Sequence[str], *, deadline_s: float, more: Mapping[str, str] | None = None
) -> Typed:
    """Run `hafen WORDS` against the scheduler at `socket` and wait for its end.

    Args:
        socket: of a host's API.
        words: the command and its options.
        deadline_s: the command has limits of its own; past this one it hangs.
        more: environment variables besides this process's own.

    Raises:
        ConvergenceError: it did not end within the deadline.
    """
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    own = {name: text for name, text in os.environ.items() if not name.startswith("HAFEN_")}
    process = await asyncio.create_subprocess_exec(
        *(*_HAFEN, "--host", f"unix:{socket}", *words),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=STDOUT,
        env={**own, **(more or {})},
    )
    try:
        async with asyncio.timeout(deadline_s):
            out, _ = await process.communicate()
    except TimeoutError as error:
        raise ConvergenceError(
            f"`hafen {' '.join(words)}` did not end within {deadline_s:.0f} s"
        ) from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = out.decode(errors="replace").strip().splitlines()
    assert process.returncode is not None
    return Typed(loop.time() - began_s, process.returncode, tuple(lines[-_LINES_MAX:]))
