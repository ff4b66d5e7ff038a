"""Having processes stand still, or end at once."""

import os
import select
import signal
from collections.abc import Iterable
from contextlib import suppress
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


async def kill(pids: Iterable[int]) -> None:
    """Return once the kernel has closed all that they had open.

    A process that dies loses its command line first, and its ports a moment later.
    """
    found = [os.pidfd_open(pid) for pid in pids]
    assert found
    for descriptor in found:
        with suppress(ProcessLookupError):  # One may end with another.
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    for descriptor in found:
        await until(lambda fd=descriptor: bool(select.select([fd], [], [], 0)[0]), _WITHIN_S)  # type: ignore[misc]
        os.close(descriptor)


def _stands_still(pid: int) -> bool:
    found = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(text.rpartition(")")[2].split()[0] in _STOPPED for text in found)
