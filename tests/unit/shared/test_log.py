"""The log of a process: a line that cannot be written is lost, and nobody ends by it."""

import json
import subprocess
import sys

from tests.forked import ROOT

# Far more than any buffer on the way takes.
_SAYS = """
import structlog
from shared import log

log.set_up(part="agent")
for number in range(2_000):
    structlog.get_logger().warning("said", number=number)
print("went on")
"""
_ARGV = (sys.executable, "-c", _SAYS)


def test_a_log_on_a_full_disk_ends_nobody() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            [sys.executable, "-c", _SAYS],
            stdout=subprocess.PIPE,
            stderr=full,
            cwd=ROOT,
            check=False,
        )
    assert done.stdout == b"went on\n"


def test_each_line_says_who_spoke_and_how_loud() -> None:
    done = subprocess.run(_ARGV, capture_output=True, cwd=ROOT, check=True)
    lines = done.stderr.splitlines()
    assert len(lines) == 2_000
    said = {"number": 0, "event": "said", "part": "agent", "level": "warning"}
    assert json.loads(lines[0]).items() > said.items()
