"""Runs one case of a test in namespaces of its own, as a process: what it does cannot get out."""

import subprocess
import sys
from pathlib import Path

# With a process namespace: whatever a case has started ends with it.
ALONE = ("--pid", "--fork", "--kill-child", "--mount-proc")


def run_case(
    module: str,
    *words: str,
    timeout_s: float = 60.0,
    isolation: tuple[str, ...] = (),
    under: tuple[str, ...] = (),
    log: Path | None = None,
) -> str:
    """Run `python -m tests.contract.<module> <words>`; return what it printed.

    Args:
        module: has the case.
        words: its arguments.
        timeout_s: then the test has failed.
        isolation: more of `unshare` than a network and mounts of its own.
        under: a program that runs it.
        log: a file that says more, if there is one, when it fails.
    """
    done = subprocess.run(
        [
            *("unshare", "--net", "--mount", "--propagation", "private", *isolation),
            *(*under, sys.executable, "-m", f"tests.contract.{module}", *words),
        ],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    said = log.read_text() if log is not None and log.exists() else ""
    assert done.returncode == 0, done.stdout + done.stderr + said
    return done.stdout
