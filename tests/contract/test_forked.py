"""What a program of the tests has for itself, and that it ends with it."""

import os
import signal
from pathlib import Path

import pytest

from tests.forked import ROOT, Apart, run

pytestmark = pytest.mark.real


def asleep_in(link: str) -> list[int]:
    """Return the processes of this machine that sleep in a network namespace."""
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            is_there = str((process / "ns" / "net").readlink()) == link
            if is_there and (process / "comm").read_text() == "sleep\n":
                found.append(int(process.name))
        except OSError:
            continue  # ended since it was listed
    return found


@pytest.mark.parametrize(("apart", "left"), [(Apart.NETWORK, 1), (Apart.PROCESSES, 0)])
def test_what_a_program_leaves_behind_ends_with_its_processes_alone(
    apart: Apart, left: int
) -> None:
    done = run("tests.contract.orphan", within_s=30, folder=ROOT, apart=apart)

    assert (done.returncode, done.stderr) == (0, "")
    link = done.stdout.strip()
    orphans = asleep_in(link)
    for each in orphans:
        os.kill(each, signal.SIGKILL)
    assert link != str(Path("/proc/self/ns/net").readlink())
    assert len(orphans) == left
