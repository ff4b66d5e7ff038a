"""What this node has promised its peers: to claim nothing until some moment of the boot clock.

While etcd is away a peer keeps its exclusive containers running on the strength of such a promise,
so it must outlive the agent that gave it.
"""

import math
from pathlib import Path
from typing import Final, Protocol

from shared.errors import HostError
from shared.files import write_atomically

_NAME: Final = "promised_until_boot_s"


class Promise(Protocol):
    """Where the moment is kept."""

    def read(self) -> float:
        """Return the moment; 0 if nothing was promised.

        Raises:
            HostError: it cannot be told what was promised.
        """
        ...

    def write(self, until_boot_s: float) -> None:
        """Keep the moment.

        Raises:
            OSError: it is not kept: do not give the promise.
        """
        ...


class PromiseFile:
    """Keeps it in `run_dir`, which a reboot empties, as it sets the boot clock back."""

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / _NAME

    def read(self) -> float:
        """Return the moment; 0 if nothing was promised.

        Raises:
            HostError: the file is not one of ours.
        """
        try:
            until_boot_s = float(self._path.read_text(encoding="ascii"))
        except FileNotFoundError:
            return 0.0
        except (ValueError, OSError) as error:
            raise self._unreadable(str(error)) from error
        # A number that compares with nothing would bind us to nothing.
        if not (math.isfinite(until_boot_s) and until_boot_s >= 0):
            raise self._unreadable(f"{until_boot_s} is no moment")
        return until_boot_s

    def _unreadable(self, why: str) -> HostError:
        return HostError(f"{self._path}: {why}; remove it if no peer waits for us")

    def write(self, until_boot_s: float) -> None:
        """Keep the moment.

        Raises:
            OSError: the disk is full or broken.
        """
        write_atomically(self._path, f"{until_boot_s}\n".encode())
