"""Runs one case of a test in namespaces of its own, as a process: what it does cannot get out."""

from pathlib import Path

from tests.forked import ROOT, Apart, run


def run_case(
    module: str,
    *words: str,
    timeout_s: float = 180.0,
    apart: Apart = Apart.NETWORK,
    log: Path | None = None,
) -> str:
    """Run `python -m tests.contract.<module> <words>`; return what it printed.

    Args:
        module: has the case.
        words: its arguments.
        timeout_s: then the test has failed.
        apart: what it has for itself; with its processes what it has started ends with it.
        log: a file that says more, if there is one, when it fails.
    """
    done = run(f"tests.contract.{module}", *words, within_s=timeout_s, folder=ROOT, apart=apart)
    said = log.read_text() if log is not None and log.exists() else ""
    assert done.returncode == 0, done.stdout + done.stderr + said
    return done.stdout
