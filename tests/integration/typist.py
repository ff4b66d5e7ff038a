"""`hafen` as a person types it, in a process of its own."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.forked import run

WITHIN_S = 150.0


def type_(
    *words: str,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    within_s: float = WITHIN_S,
) -> subprocess.CompletedProcess[str]:
    """Run `hafen WORDS`; without more, in this process's environment and folder.

    Raises:
        TimeoutExpired: it was killed, it would not end.
    """
    module = "tests.integration.commands"
    return run(module, *words, within_s=within_s, environment=environment, folder=folder)
