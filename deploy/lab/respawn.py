"""A program of its own: starts a program again whenever it ends, as init systems do.

Run as `python -I -S respawn.py -- ARGV...` below tini. It must not import anything of ours.
"""

import signal
import subprocess
import sys
import time
from types import FrameType
from typing import NoReturn

# A host that cannot start says so in its log once a second, not as fast as the machine can.
FIRST_S, LIMIT_S, STEADY_S = 0.1, 1.0, 10.0


def main(argv: list[str]) -> NoReturn:
    """Run `argv` for ever; SIGTERM is passed on and ends both."""
    wait_s = FIRST_S
    while True:
        began_s = time.monotonic()
        child = subprocess.Popen(argv)

        def end(
            number: int, _frame: FrameType | None, child: subprocess.Popen[bytes] = child
        ) -> None:
            child.send_signal(number)
            raise SystemExit(child.wait())

        signal.signal(signal.SIGTERM, end)
        code = child.wait()
        wait_s = FIRST_S if time.monotonic() - began_s > STEADY_S else min(wait_s * 2, LIMIT_S)
        sys.stderr.write(f"init: {argv[0]} ended with {code}, again in {wait_s:.1f} s\n")
        sys.stderr.flush()
        time.sleep(wait_s)


if __name__ == "__main__":
    main(sys.argv[2:])
