"""A program for test_forked.py: leaves a process behind and says which network it has."""

import subprocess
from pathlib import Path

if __name__ == "__main__":
    # Without our output: nobody waits for the end of that.
    nowhere = subprocess.DEVNULL
    subprocess.Popen(("sleep", "300"), stdout=nowhere, stderr=nowhere)
    print(Path("/proc/self/ns/net").readlink())  # noqa: T201 - its answer
