"""How each of hafen's processes begins and ends: arguments, settings, signals, exit code."""

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog

from shared import log
from shared.clock import Clock, SystemClock
from shared.errors import HafenError
from shared.settings import DEFAULT_PATH, load

_log = structlog.get_logger()

# New objects after which circles among them are looked for. A pass makes thousands, and frees them
# itself; after each 700, as Python does, looking took 2 ms of each change of a stack's routes.
_OBJECTS: Final = 10_000


def main(part: str, serve: Callable[[Path, Clock], Awaitable[None]]) -> None:
    """Run `serve` until SIGTERM or SIGINT; end the process with the right exit code.

    An error that we raise on purpose is one line; every other one is a bug and shows its traceback.
    """
    parser = argparse.ArgumentParser(prog=part)
    parser.add_argument("--config", type=Path, default=DEFAULT_PATH)
    parser.add_argument("--log-level", default="info")
    arguments = parser.parse_args()
    settle_memory()
    try:
        log.set_up(level=arguments.log_level, part=part, node=load(arguments.config).node)
        asyncio.run(_until_signalled(serve(arguments.config, SystemClock())))
    except HafenError as error:
        sys.exit(_refuse(part, error))
    except BaseExceptionGroup as group:
        expected, bugs = group.split(HafenError)
        if bugs is not None or expected is None:
            raise
        sys.exit(max(_refuse(part, error) for error in leaves(expected)))


def settle_memory() -> None:
    """Let the collector look no more through what was imported: it is there until the end.

    A collection stops everything, answers to other hosts' probes too.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_OBJECTS)


def _refuse(part: str, error: HafenError) -> int:
    sys.stderr.write(f"{part}: {error}\n")
    return error.exit_code


def leaves(group: BaseExceptionGroup[HafenError]) -> list[HafenError]:
    """Return the errors of a group, however deeply grouped."""
    found: list[HafenError] = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def _until_signalled(work: Awaitable[None]) -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)

    async def run() -> None:
        await work
        stopped.set()

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run())
        await stopped.wait()
        task.cancel()
    _log.info("stopped")
