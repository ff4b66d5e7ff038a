"""Having processes stand still."""

import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.waiting import until

_WITHIN_S: Final = 10.0
_STOPPED: Final = frozenset("TZX")


async def stop(pids: Iterable[int]) -> None:
    """Return once they stand still: a thread takes the signal when it next runs, not before."""
    pids = tuple(pids)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    await until(lambda: all(_stands_still(pid) for pid in pids), _WITHIN_S)


def _stands_still(pid: int) -> bool:
    found = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(text.rpartition(")")[2].split()[0] in _STOPPED for text in found)
